"""Readers of training runs that were made elsewhere; each turns a source into history rows."""
