"""A small API over gRPC for the gateway to stand before: its descriptors, and its messages."""

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from grpc_tools import protoc

_PROTOS = {
    "user.proto": """
        syntax = "proto3";
        package user;
        service UserService { rpc GetUser(GetUserRequest) returns (GetUserResponse); }
        message GetUserRequest { string id = 1; }
        message GetUserResponse { string id = 1; string username = 2; bool active = 7; }
    """,
    "product.proto": """
        syntax = "proto3";
        package product;
        service ProductService { rpc GetProduct(GetProductRequest) returns (GetProductResponse); }
        message GetProductRequest { string id = 1; }
        message GetProductResponse { string id = 1; }
    """,
    "order.proto": """
        syntax = "proto3";
        package order;
        service OrderService { rpc WatchOrder(WatchOrderRequest) returns (stream WatchOrderResponse); }
        message WatchOrderRequest { string id = 1; }
        message WatchOrderResponse { string status = 1; }
    """,
}


class Protos:
    """Compiled into a folder."""

    def __init__(self, folder: Path) -> None:
        self.descriptors = folder / "descriptors.binpb"
        for name, text in _PROTOS.items():
            (folder / name).write_text(text)
        options = [f"-I{folder}", "--include_imports", f"--descriptor_set_out={self.descriptors}"]
        assert protoc.main(["protoc", *options, *_PROTOS]) == 0
        self._pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(self.descriptors.read_bytes()).file:
            self._pool.Add(file)

    def make(self, name: str, **fields: object) -> message.Message:
        """A message of a kind such as `user.GetUserRequest`."""
        made: message.Message = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))(**fields)
        return made

    def read(self, name: str, content: bytes) -> message.Message:
        """A message from its bytes."""
        found = self.make(name)
        found.ParseFromString(content)
        return found
