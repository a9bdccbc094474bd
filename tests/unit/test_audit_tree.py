"""The tree agrees with RFC 9162 as another implementation reads it, and signed notes with what a key says."""

import hashlib
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree, verify_consistency

from instrument_registry.events.audit import merkle
from instrument_registry.events.audit.checkpoints import BadCheckpoint, Checkpoint, Signer, Verifier, by_id, checked
from instrument_registry.events.audit.outside import KeyUnreadable, Outside, read_checkpoints

LEAVES = [b"record %d" % number for number in range(300)]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]
THEIRS = InmemoryTree(algorithm="sha256")
for leaf in LEAVES:
    THEIRS.append_entry(leaf)

SIZES = st.integers(min_value=1, max_value=len(LEAVES))
NOON = datetime(2026, 8, 18, 6, 30, tzinfo=UTC)


def root(size: int) -> bytes:
    tree = merkle.Frontier()
    for hash_ in HASHES[:size]:
        tree.push(hash_)
    return tree.root()


def folded(leaves: list[bytes], at: merkle.Node) -> bytes:
    tree = merkle.Frontier()
    for hash_ in leaves[at.before << at.height : (at.before + 1) << at.height]:
        tree.push(hash_)
    return tree.root()


def node(at: merkle.Node) -> bytes:
    return folded(HASHES, at)


def hashes(path: merkle.Path) -> list[bytes]:
    return [merkle.joined([node(at) for at in nodes]) for nodes in path]


class TestTheTree:
    def test_of_nothing_is_the_hash_of_nothing(self) -> None:
        assert merkle.Frontier().root() == hashlib.sha256(b"").digest()

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 255, 256, 257, 300])
    def test_has_the_root_that_pymerkle_finds(self, size: int) -> None:
        assert root(size) == THEIRS.get_state(size)
        assert merkle.joined([node(at) for at in merkle.perfect(0, size)]) == root(size)

    @given(SIZES, st.data())
    @settings(deadline=None)
    def test_proves_each_leaf_as_pymerkle_does(self, size: int, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, size - 1))
        path = hashes(merkle.inclusion(index, size))

        theirs = THEIRS.prove_inclusion(index + 1, size)
        assert path == list(theirs.path[1:])
        assert merkle.root_from_inclusion(HASHES[index], index, size, path) == root(size)

    @given(SIZES, st.data())
    @settings(deadline=None)
    def test_proves_each_older_tree_as_pymerkle_does(self, size: int, data: st.DataObject) -> None:
        first = data.draw(st.integers(1, size))
        path = hashes(merkle.consistency(first, size))

        # pymerkle cuts its path finer than the RFC: each verifier gets its own proof and the roots of the other.
        states = (THEIRS.get_state(first), THEIRS.get_state(size))
        verify_consistency(*(root(one) for one in (first, size)), THEIRS.prove_consistency(first, size))
        assert merkle.consistent(first, size, states, path)

    @given(SIZES, st.data())
    @settings(deadline=None)
    def test_believes_no_proof_of_anything_else(self, size: int, data: st.DataObject) -> None:
        index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
        bad = data.draw(st.sampled_from(["other leaf", "other place", "cut", "longer", "changed"]))
        path, older = hashes(merkle.inclusion(index, size)), hashes(merkle.consistency(first, size))
        leaf, place = HASHES[index], index
        if bad == "other leaf":
            leaf = merkle.leaf_hash(b"another")
        elif bad == "other place":
            place = index + 1
        elif bad == "cut":
            path, older = path[:-1], older[:-1]
        elif bad == "longer":
            path, older = [*path, bytes(32)], [*older, bytes(32)]
        else:
            path, older = [*path[:-1], bytes(32)], [*older[:-1], bytes(32)]

        if bad != "cut" or size > 1:
            assert merkle.root_from_inclusion(leaf, place, size, path) != root(size)
        if bad in ("longer", "changed") and first < size:
            assert not merkle.consistent(first, size, (root(first), root(size)), older)

    def test_makes_the_paths_of_the_certificate_transparency_examples(self) -> None:
        entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
        leaves = [merkle.leaf_hash(bytes.fromhex(entry)) for entry in entries]

        def shown(path: merkle.Path) -> list[str]:
            return [merkle.joined([folded(leaves, at) for at in nodes]).hex()[:8] for nodes in path]

        assert folded(leaves, merkle.Node(3, 0)).hex()[:8] == "5dc9da79"
        assert shown(merkle.consistency(6, 8)) == ["0ebc5d34", "ca854ea1", "d37ee418"]
        assert shown(merkle.consistency(1, 8)) == ["96a296d2", "5f083f0a", "6b47aaf2"]
        assert shown(merkle.inclusion(5, 8)) == ["bc1a0643", "ca854ea1", "d37ee418"]


def signer(log: str = "instrument-registry/test") -> Signer:
    return Signer(log, Ed25519PrivateKey.from_private_bytes(random.Random(7).randbytes(32)))


CHECKPOINT = Checkpoint(log="instrument-registry/test", size=300, root=root(300), at=NOON)


class TestACheckpoint:
    def test_is_read_as_it_was_signed(self) -> None:
        note = signer().sign(CHECKPOINT)

        assert checked(note.text, by_id([signer().verifier])) == CHECKPOINT
        assert Verifier.read(str(signer().verifier)) == signer().verifier

    def test_is_a_signed_note_that_can_be_checked_without_us(self) -> None:
        import base64

        text = signer().sign(CHECKPOINT).text
        body, _, line = text.partition("\n\n")
        signature = base64.b64decode(line.split()[2])
        key = base64.b64decode(str(signer().verifier).split("+", 2)[2])[1:]
        name = line.split()[1].encode()

        assert signature[:4] == hashlib.sha256(name + b"\n\x01" + key).digest()[:4]
        Ed25519PublicKey.from_public_bytes(key).verify(signature[4:], body.encode() + b"\n")

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace("\n300\n", "\n301\n"),
            lambda text: text.replace("2026-08-18", "2026-08-19"),
            lambda text: text.replace("registry/test\n300", "registry/other\n300"),
            lambda text: text + "\n",
            lambda text: text.replace("\n\n", "\nmore\n\n"),
            lambda text: text[:-10] + "AAAAAAAA=\n",
            lambda text: "",
        ],
    )
    def test_that_was_changed_is_refused(self, change) -> None:
        text = change(signer().sign(CHECKPOINT).text)

        with pytest.raises(BadCheckpoint):
            checked(text, by_id([signer().verifier]))

    def test_of_a_stranger_is_refused(self) -> None:
        stranger = Signer(CHECKPOINT.log, Ed25519PrivateKey.generate())

        with pytest.raises(BadCheckpoint, match="not trusted"):
            checked(stranger.sign(CHECKPOINT).text, by_id([signer().verifier]))


class TestOutsideTheDatabase:
    def test_the_key_is_its_owners_alone_and_stays_the_same(self, tmp_path: Path) -> None:
        outside = Outside(tmp_path)
        first = outside.private_key().private_bytes_raw()

        assert outside.private_key().private_bytes_raw() == first
        assert outside.key.stat().st_mode & 0o777 == 0o600

    def test_a_key_that_is_none_is_said_to_be(self, tmp_path: Path) -> None:
        outside = Outside(tmp_path)
        outside.key.write_text("nothing")

        with pytest.raises(KeyUnreadable, match=r"audit\.key"):
            outside.private_key()

    def test_checkpoints_come_back_in_order_and_a_line_that_was_cut_off_is_passed_over(self, tmp_path: Path) -> None:
        outside = Outside(tmp_path)
        first, second = signer().sign(CHECKPOINT), signer().sign(Checkpoint(
            log=CHECKPOINT.log, size=301, root=bytes(32), at=NOON
        ))  # fmt: skip
        outside.add(first)
        with outside.checkpoints.open("ab") as file:
            file.write(b'{"checkpoint":"instrument')
        outside.add(second)

        assert list(read_checkpoints(outside.checkpoints)) == [first, second]
        assert outside.last() == second

    def test_a_line_that_is_no_checkpoint_is_refused(self, tmp_path: Path) -> None:
        outside = Outside(tmp_path)
        outside.add(signer().sign(CHECKPOINT))
        outside.checkpoints.write_bytes(outside.checkpoints.read_bytes().replace(b"300", b"299"))
        with pytest.raises(BadCheckpoint):
            checked(outside.last().text, by_id([signer().verifier]))

        outside.checkpoints.write_bytes(b'{"other": 1}\n')
        with pytest.raises(BadCheckpoint):
            list(read_checkpoints(outside.checkpoints))

    def test_the_public_key_is_named_once(self, tmp_path: Path) -> None:
        outside = Outside(tmp_path)
        outside.trust(signer())
        outside.trust(signer())

        assert outside.trusted() == [signer().verifier]
