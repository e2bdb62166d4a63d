"""The seeding peer: answers offers through a hub and gives chunks of the data folder over WebRTC."""
