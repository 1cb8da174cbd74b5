"""What a history says, measured, drawn and written into a page of the documentation."""
