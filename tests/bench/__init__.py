"""The benchmark: what a call costs in proxy and router, beside nginx and Envoy in the same run. `make bench`.

Numbers of different runs or machines cannot be compared; ratios within one run can."""
