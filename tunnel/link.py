"""One link, as the rest of the node knows it: who is at its other end, how it came about, and how it is."""

from .identity import Certificate, NodeId
from .linkport import LinkPort, LinkStatistics
from .rtt import RoundTrip


class Link:
    """One authenticated connection to another node."""

    __slots__ = ("address", "certificate", "dialled", "port", "transport", "up_since")

    def __init__(
        self, *, certificate: Certificate, dialled: bool, address: str, transport: str, port: LinkPort, up_since: float
    ) -> None:
        self.certificate = certificate
        """What the peer said of itself, signed."""
        self.dialled = dialled
        """Whether this node opened it."""
        self.address = address
        """The address dialled, or where the peer came from."""
        self.transport = transport
        """What bytes come by, as `Connected.kind` says it."""
        self.port = port
        """What the switch sends frames through."""
        self.up_since = up_since
        """When it came up, on trio's clock."""

    @property
    def peer(self) -> NodeId:
        """Id of the node at the other end."""
        return self.port.peer

    @property
    def name(self) -> str:
        """The peer's name; its id where it has none."""
        return self.port.name

    @property
    def epoch(self) -> int:
        """The peer's epoch: a higher one is a later start."""
        return self.certificate.epoch

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others may dial the peer."""
        return self.certificate.addresses

    @property
    def round_trip(self) -> RoundTrip:
        """The delay of the link."""
        return self.port.round_trip

    @property
    def loss(self) -> float:
        """Share of what was sent lately that had to be sent again, from 0 to 1; 0 where the system does not tell."""
        return self.port.loss

    def send_control(self, message: bytes) -> None:
        """Queues a message for the peer node."""
        self.port.send_control(message)

    def statistics(self) -> LinkStatistics:
        """Counts since the link came up."""
        return self.port.statistics()

    def __repr__(self) -> str:
        return f"<Link to {self.name} at {self.transport}://{self.address.rpartition('//')[2]}>"
