"""What a recipe will cost, told before it is carried out."""
