"""From text to ids and back: characters, sentencepiece, Hugging Face's."""
