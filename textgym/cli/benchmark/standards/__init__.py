"""Standard studies: what each is made of, how large it is, and what is expected of it."""
