"""The gateway: encrypted chunks and manifests over HTTP, for anyone, without knowing a secret."""
