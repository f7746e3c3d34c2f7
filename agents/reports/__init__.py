"""What a person looks at: the report, its charts and gates, and a progress bar."""
