"""What the Python tests share: servers to test, a raw client, certificates and matching of XML."""
