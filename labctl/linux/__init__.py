"""The only package that touches the machine: namespaces, netlink, sysctls, nft, processes, /run."""
