"""Deploy certificates to the files of services, and make the services read them."""
