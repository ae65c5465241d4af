"""What a manifest's limits would have done to traffic that was: replayed in virtual time."""
