"""tunewise beside trl's trainers: supervised fine-tuning, preferences, and learning from rewards."""
