"""Recipes: reading, overriding, checking and explaining options; knows no option itself."""
