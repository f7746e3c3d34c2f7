"""What a person looks at: the report, its charts and gates, a progress bar."""
