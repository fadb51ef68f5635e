"""Tests of what models do on inputs."""
