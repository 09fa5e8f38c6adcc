module chatcluster/benchmarks/load

go 1.25
