"""The artist's vault and who paid: purchases on the chain are watched, their keys wrapped and delivered."""
