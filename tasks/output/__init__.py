"""What is shown or exported, made harmless: terminals, HTML, CSV, numbers for DVC.

Imports no other package of `tasks`.
"""
