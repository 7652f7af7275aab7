"""What several tests, and the benchmarks, share; README.md says what is in it."""
