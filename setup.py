"""Package metadata of certbot-garr-tcs; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent

# acme2certifier's configuration file changes between releases, so it is pinned. It is run as a
# program of its own, by the sandbox and by the tests, and never imported by the plugin.
SANDBOX = ["acme2certifier==0.46.3"]

TEST = [
    "certbot-dns-rfc2136>=2.1",
    "coverage[toml]>=7.10",
    "mypy==2.4.1",
    "prometheus_client>=0.20",
    "pytest>=8",
    "pytest-cov>=5",
    "pytest-xdist>=3.5",
    "ruff==0.17.6",
    "trustme>=1.1",
    "types-requests>=2.28",
    "wheel>=0.40",
]

setup(
    name="certbot-garr-tcs",
    version="0.1.0",
    description="Certbot plugin for GARR TCS: CA accounts, solvers name by name, and deployment",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=find_packages(include=["certbot_garr_tcs", "certbot_garr_tcs.*"]),
    package_data={"certbot_garr_tcs": ["py.typed"]},
    install_requires=[
        "acme>=2.1",
        "certbot>=2.1",
        "cryptography>=38",
        "dnspython>=2.3",
        "zope.interface>=5.4",
    ],
    extras_require={"sandbox": SANDBOX, "test": TEST + SANDBOX, "docs": ["mkdocs>=1.6"]},
    entry_points={
        "certbot.plugins": ["garr-tcs = certbot_garr_tcs.plugin:Configurator"],
        "console_scripts": ["certbot-garr-tcs = certbot_garr_tcs.command:main"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Plugins",
        "Intended Audience :: System Administrators",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Security :: Cryptography",
        "Topic :: System :: Systems Administration",
    ],
)
