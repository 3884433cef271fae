"""What an agent may ask of the model's provider with the profile's key."""
