"""What a user sees: tables, the page, the model card."""
