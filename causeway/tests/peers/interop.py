"""The messages and services of interop.proto, for the Python peers."""

import os
import sys

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
messages, services = grpc.protos_and_services("interop.proto")

