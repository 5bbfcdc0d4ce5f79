"""The limits of QUIC and HTTP/3: what stands in the RFCs about each, and the tests that go one beyond.

docs/limits.md has their values, reasons and counters. The tests here send one more than the limit to a whole
connection and look at what comes back; those named elsewhere do so to the part that holds the limit.

| # | RFC, section | limit | tested in |
|---|---|---|---|
| 1 | 9000 14.1, 7.2 | first datagram of 1200 octets, first ID of 8 | unit/server/test_quic_strangers.py: `test_rfc9000_14_1_a_small_initial_is_dropped`, `test_rfc9000_7_2_a_first_id_under_eight_octets_is_dropped` |
| 2 | 9001 5.2 | nothing is kept for an Initial before its tag is right | unit/server/test_quic_strangers.py: `test_an_initial_that_does_not_verify_leaves_nothing` |
| 3 | 9000 8.1.2 | 100 half-open, then Retry | unit/server/test_quic_admission.py: `test_rfc9000_8_1_2_beyond_so_many_half_open_a_client_proves_its_address` |
| 4 | 9000 21.2 | 1000 handshakes under way, 32 of a network | unit/server/test_quic_admission.py: `test_so_many_handshakes_and_one_more`, `test_so_many_handshakes_of_one_network_and_one_more` |
| 5 | 9000 21.2 | 500 handshakes begun in a second | unit/server/test_quic_admission.py: `test_so_many_handshakes_begun_in_a_second_and_one_more` |
| 6 | 9000 21.6 | 10 s of handshake, 3 s without progress | unit/server/test_quic_endpoint.py: `test_a_handshake_that_stands_still_is_given_up` |
| 7 | 9000 21.6 | connections, and the memory of all | unit/server/test_quic_strangers.py: `test_connections_at_the_limit_and_one_more` |
| | | | unit/server/test_quic_memory.py: `test_what_is_held_at_the_limit_and_one_more` |
| 8 | 9000 8.1, 9.3.1; 9002 6.2.2.1 | three times what came, until an address is validated | unit/engine/quic/test_connection.py: `test_rfc9000_8_1_three_times_as_much_and_no_more` |
| 9 | 9001 5.7 | 10 packets ahead of their keys, 2 before validation, 12 KiB | unit/engine/quic/test_receiving.py: `test_packets_ahead_of_their_keys_at_the_limit_and_one_more` |
| 10 | 9000 12.2 | 8 packets of a datagram | unit/engine/quic/test_receiving.py: `test_coalesced_packets_at_the_limit_and_one_more` |
| 11 | 9000 8.1.2 to 8.1.4 | a Retry's token: 30 s, bound to address and IDs | unit/engine/quic/test_retry.py: `test_rfc9000_8_1_3_a_retry_token_lives_for_seconds` |
| 12 | 9000 8.1.3 | a token for later: a day, once, one for each address | unit/engine/quic/test_retry.py: `test_rfc9000_8_1_3_a_new_token_lives_for_a_day_and_for_any_port` |
| | | | unit/server/test_quic_tokens.py: `test_rfc9000_8_1_4_a_token_is_good_once` |
| | | | unit/engine/quic/test_migration.py: `test_rfc9000_8_1_3_one_token_for_each_address_that_was_proved` |
| 13 | 9000 8.1.3, 19.7 | 2 tokens kept by a client | unit/engine/quic/test_migration.py: `test_tokens_kept_at_the_limit_and_one_more` |
| 14 | 9000 6.1 | 100 Version Negotiations a second | unit/server/test_quic_answers.py: `test_so_many_version_negotiations_in_a_second_and_one_more` |
| 15 | 9000 10.3, 10.3.3, 21.11 | 100 stateless resets a second, one for a peer in 10 s | unit/server/test_quic_answers.py: `test_so_many_resets_in_a_second_and_one_more`, `test_one_peer_gets_one_reset_and_not_another` |
| 16 | 9000 10.3.1 | a reset is looked for only where nothing opened | unit/engine/quic/test_receiving.py: `test_rfc9000_10_3_a_stateless_reset_ends_it` |
| 17 | 9000 10.2, 10.2.1 | closing: three probe timeouts, 10 000 records | unit/engine/quic/test_core.py: `test_rfc9000_10_2_closing_and_draining` |
| | | | unit/server/test_quic_closed.py: `test_so_many_ends_and_one_more` |
| 18 | 9000 10.1 | 30 s idle, 5 s at least | unit/engine/quic/test_connection.py: `test_rfc9000_10_1_idle_for_as_long_as_both_allow`, `test_idle_timeouts_of_a_peer_have_a_floor` |
| 19 | CVE-2026-11352 | 256 reads or 1 ms of a wake-up, empty datagrams counted | unit/server/test_quic_endpoint.py: `test_one_wake_up_reads_so_many_datagrams_and_one_more_waits`, `test_a_wake_up_ends_when_its_time_is_over` |
| 20 | 9000 18.2 | what waits to be looked at: 4 MiB, in equal shares | unit/server/test_quic_backlog.py: `test_a_share_at_the_limit_and_one_more`, `test_all_together_hold_no_more_than_there_is` |
| 21 | 9000 7.5 | 16 KiB of CRYPTO ahead, in any pieces | unit/engine/quic/test_crypto_buffer.py: `test_rfc9000_7_5_ahead_at_the_limit_and_one_more` |
| | | | here: `test_rfc9000_7_5_sparse_crypto_of_a_whole_connection` |
| | | | property/test_quic_crypto.py: `test_single_octets` |
| | 9000 21.9 | 1000 CRYPTO frames that bring nothing | here: `test_rfc9000_21_9_crypto_for_nothing_of_a_whole_connection` |
| 22 | 9000 7.5 | 64 KiB of CRYPTO of a level in all | unit/engine/quic/test_crypto_buffer.py: `test_rfc9000_7_5_all_of_a_level_at_the_limit_and_one_more` |
| 23 | 8446 4 | messages of TLS, known with their fourth octet | unit/engine/tls13/test_messages.py: `test_limits_of_messages` |
| | | | unit/engine/tls13/test_refusals.py: `test_a_message_at_the_limit_and_one_more` |
| 24 | 8446 4.1.2, 4.2 | what a ClientHello lists | unit/engine/tls13/test_extensions.py: `test_at_the_limit_of_extensions_and_one_more` |
| | | | unit/engine/tls13/test_hello.py: `test_key_shares_at_the_limit_and_one_more`, `test_protocols_at_the_limit_and_one_more`, `test_tickets_at_the_limit_and_one_more`, `test_a_server_name_at_the_limit_and_one_more` |
| 25 | 8446 4.4.2 | 10 certificates of a peer, 16 KiB of staple | unit/engine/tls13/test_messages.py: `test_a_chain_at_the_limit_and_one_more`, `test_a_staple_at_the_limit_and_one_more` |
| 26 | 8446 4.6.1 | 2 tickets sent, 4 kept | unit/engine/tls13/test_handshake.py: `test_tickets_sent`, `test_sessions_kept_at_the_limit_and_one_more` |
| 27 | 9001 9.2; 8446 8; 8470 5 | early data: off, or once for each ticket and fresh | unit/engine/tls13/test_early.py: `test_used_tickets_at_the_limit_and_one_more`, `test_rfc8446_8_3_a_hello_that_is_not_fresh` |
| | | | unit/engine/quic/test_early.py: `test_rfc9001_5_7_early_packets_that_overtook_their_hello_at_the_limit_and_one_more` |
| 28 | 9001 6.1 to 6.5, 9.5 | key updates of the peer: one until it is acknowledged | here: `test_rfc9001_6_2_a_second_key_update_before_the_first_was_acknowledged` |
| 29 | 9001 6.6 | what one key seals, what may fail to open | unit/engine/quic/test_protect.py: `test_limit_of_sealed_packets_and_one_more`, `test_limit_of_forged_packets_and_one_more` |
| | | | unit/engine/quic/test_upkeep.py: `test_rfc9001_6_6_keys_are_updated_before_their_limit` |
| 30 | 9001 9.5 | 10,000 forged packets in 10 s from addresses not in use: those are ignored for 10 s; on the path in use each is dropped in its connection's share | here: `test_forged_packets_cost_their_connection_nothing` |
| | | | unit/engine/quic/test_strays.py: `test_strays_at_the_limit_and_one_more` |
| | | | unit/server/test_quic_backlog.py: `test_a_share_at_the_limit_and_one_more` |
| 31 | 9000 4.6, 21.8 | 100 requests at a time | here: `test_rfc9000_4_6_one_stream_too_many` |
| | | | unit/engine/quic/test_streams.py: `test_each_of_the_three_is_needed` |
| 32 | 9000 4.6; 9114 6.2 | 8 one-way streams at a time | unit/engine/quic/test_streams.py: `test_rfc9000_4_6_streams_at_the_limit_and_one_more` |
| | | | here: `test_rfc9000_4_6_one_stream_too_many` |
| 33 | 9000 2.1, 21.8 | lower streams cost nothing | unit/engine/quic/test_streams.py: `test_rfc9000_2_1_lower_streams_are_open_too_and_cost_nothing` |
| 34 | 9114 10.5 | 100 and 500 requests given up in 10 s | unit/engine/quic/test_streams.py: `test_requests_given_up_at_the_limit_and_one_more`, `test_far_too_many_requests_given_up_end_the_connection` |
| 35 | 9000 4.1, 4.2 | 256 KiB of a stream, more only by consumption | here: `test_rfc9000_4_1_one_octet_too_many_of_a_stream` |
| | | | unit/engine/quic/test_flow.py: `test_fast_consumption_grows_the_window_to_its_maximum` |
| | | | unit/connection/test_quic_downstream.py: `test_only_content_that_was_taken_opens_the_window_again` |
| 36 | 9000 4.1, 4.2 | 1 MiB of a connection, more only by consumption | here: `test_rfc9000_4_1_one_octet_too_many_of_a_connection` |
| | | | unit/server/test_quic_memory.py: `test_short_memory_shrinks_windows_and_gives_them_back` |
| 37 | 9000 21.7 | 128 gaps of a stream, 512 of a connection | unit/engine/quic/test_receive_buffer.py: `test_gaps_of_a_stream_at_the_limit_and_one_more`, `test_gaps_of_a_connection_at_the_limit_and_one_more` |
| 38 | 9000 21.7 | a piece that waits counts 128 octets at least | unit/engine/quic/test_receive_buffer.py: `test_charge_at_the_limit_and_one_more` |
| 39 | 9000 4, 21.6 | 256 KiB of a stream written and not acknowledged, 1 MiB of all | unit/engine/quic/test_stream_sender.py: `test_a_stream_holds_so_much_and_not_one_octet_more`, `test_a_connection_holds_so_much_and_not_one_octet_more` |
| 40 | 9000 2.1 | closed streams in few ranges | unit/engine/quic/test_streams.py: `test_closed_streams_are_remembered_in_few_ranges` |
| 41 | 9000 21.9 | blocked frames and PING leave nothing and count | unit/engine/quic/test_glitches.py: `test_idle_frames_at_the_limit_and_one_more` |
| 42 | 9000 4.5 | the final size holds | unit/engine/quic/test_streams.py: `test_rfc9000_4_5_the_final_size_holds_for_every_frame` |
| 43 | 9000 13.2.3 | 64 ranges kept, 32 told | unit/engine/quic/test_acks.py: `test_ranges_kept_at_the_limit_and_one_more`, `test_ranges_sent_at_the_limit` |
| 44 | 9000 19.3 | 256 ranges of an ACK read | unit/engine/quic/test_sent_packets.py: `test_ranges_beyond_the_limit_are_not_read` |
| 45 | 9000 13.1, 21.4 | what was not sent, or skipped, is not acknowledged | here: `test_rfc9000_21_4_an_acknowledgement_of_what_was_never_sent` |
| | | | unit/engine/quic/test_sent_packets.py: `test_rfc9000_21_4_a_skipped_number_catches_an_optimist` |
| 46 | 9002 7 | 20 000 packets tracked, 16 MiB under way | unit/engine/quic/test_recovery.py: `test_packets_tracked_at_the_limit_and_one_more` |
| | | | unit/engine/quic/test_congestion.py: `test_the_window_at_its_limit_and_one_more` |
| 47 | 9000 13.2.1, 13.2.2, 13.2.4 | when ACKs are sent | unit/engine/quic/test_acks.py: `test_rfc9000_13_2_1_the_first_waits_no_longer_than_promised`, `test_rfc9000_13_2_4_after_so_many_acks_alone_a_ping_asks` |
| 48 | 9000 13.3 | one frame lost 10 times | unit/engine/quic/test_recovery.py: `test_a_frame_lost_as_often_as_allowed_and_once_more` |
| 49 | 9002 6.2 | 2 probes, 10 doublings | unit/engine/quic/test_recovery.py: `test_the_backoff_at_its_limit_and_one_more` |
| 50 | 9000 5.1.1 | 4 IDs of the peer | here: `test_rfc9000_5_1_1_one_connection_id_too_many` |
| | | | unit/engine/quic/test_connection_ids.py: `test_limit_of_the_peers_ids_and_one_more` |
| 51 | 9000 5.1.2 | 12 retirements that are not acknowledged | here: `test_rfc9000_5_1_2_retirements_that_are_never_acknowledged` |
| | | | unit/engine/quic/test_connection_ids.py: `test_limit_of_retired_ids_and_one_more` |
| 52 | 9000 5.1.1, 5.1.2 | our IDs: 4, 64 replaced and 256 retired in a minute | unit/engine/quic/test_connection_ids.py: `test_limit_of_our_ids_whatever_the_peer_takes`, `test_limit_of_replacements_and_one_more`, `test_limit_of_retirements_in_a_minute_and_one_more` |
| 53 | 9000 8.2.2 | 3 answers that wait, 10 in a round trip | unit/engine/quic/test_paths.py: `test_answers_at_the_limit_and_one_more` |
| | | | unit/engine/quic/test_migration.py: `test_challenges_at_the_limit_of_a_round_trip_and_one_more` |
| 54 | 9000 8.2.4, 9.3 | 4 paths, one new in a second, 3 challenges | unit/engine/quic/test_paths.py: `test_paths_at_the_limit_and_one_more`, `test_rfc9000_8_2_4_three_challenges_each_another_then_it_is_given_up` |
| | | | unit/engine/quic/test_migration.py: `test_new_paths_at_the_limit_of_a_second_and_one_more` |
| 55 | 9000 9, 18.2 | migration, not in the handshake | unit/engine/quic/test_migration.py: `test_rfc9000_9_nobody_moves_in_the_handshake` |
| 56 | 9000 9.6, 21.5.3, 21.5.6 | a preferred address in the same kind of network | unit/engine/quic/test_preferred.py: `test_rfc9000_21_5_6_nobody_is_sent_into_another_kind_of_network` |
| 57 | 9000 13.4.2, 14.3; 8899 4.3, 5.1.2 | ECN and the search for larger datagrams end | unit/engine/quic/test_ecn.py: `test_rfc9000_a_4_ten_packets_are_marked_then_none_until_the_answer` |
| | | | unit/engine/quic/test_mtu.py: `test_rfc8899_5_1_2_three_probes_of_a_size_and_no_more`, `test_rfc8899_4_3_a_black_hole_after_three_suspicions_and_no_sooner` |
| 58 | 9221 3, 5 | DATAGRAM: off, else 64 and 64 KiB | unit/engine/quic/test_datagrams.py: `test_rfc9221_3_a_datagram_at_the_limit_and_one_more`, `test_datagrams_at_the_limit_and_one_more_the_oldest_goes`, `test_octets_of_datagrams_at_the_limit_and_one_more` |
| 59 | 9114 7.2.4, 10.5 | SETTINGS: 1 KiB, 64 | here: `test_rfc9114_7_2_4_settings_that_are_too_long` |
| | | | unit/engine/h3/test_settings.py: `test_settings_at_the_limit_and_one_more` |
| 60 | 9114 10.5.1 | 64 KiB of an encoded section | unit/engine/h3/test_connection.py: `test_an_encoded_section_at_the_limit_and_one_more` |
| 61 | 9114 4.2.2 | 64 KiB of decoded fields, counted on the way | here: `test_rfc9114_4_2_2_a_section_that_decodes_to_too_much_is_431` |
| | | | unit/engine/h3/test_qpack_decoder.py: `test_a_small_section_that_decodes_to_much_is_given_up_on_the_way`, `test_lines_at_the_limit_and_one_more` |
| 62 | 9204 2.1.2, 7.3 | the QPACK decoder: no table, or a small one | unit/engine/h3/test_qpack_decoder.py: `test_more_capacity_than_there_is_is_not_given`, `test_blocked_streams_and_one_more`, `test_blocked_octets_and_one_more` |
| | | | unit/engine/h3/test_connection.py: `test_instructions_at_the_limit_and_one_more` |
| 63 | 9204 2.1.1, 7.1 | the QPACK encoder's table is ours | unit/engine/h3/test_qpack_encoder.py: `test_the_table_is_ours_however_much_the_peer_allows`, `test_outstanding_sections_at_the_limit_and_one_more` |
| | | | unit/engine/h3/test_qpack_decoder.py: `test_secrets_and_long_lines_are_not_remembered` |
| 64 | 9204 4.1, 7.4 | integers of 62 bits | unit/engine/message/test_integers.py: `test_rfc9204_4_1_1_62_bits_and_one_more`, `test_an_integer_of_endless_zeros_is_refused` |
| 65 | 9114 6.2, 9 | unknown streams are stopped | unit/engine/h3/test_connection.py: `test_rfc9114_6_2_unknown_streams_are_stopped_not_read`, `test_unknown_streams_at_the_limit_and_one_more` |
| 66 | 9114 10.5 | frames for nothing: 1000 in 10 s, of HTTP/3 and of QUIC | unit/engine/h3/test_control.py: `test_frames_for_nothing_at_the_limit_and_one_more` |
| | | | unit/engine/quic/test_glitches.py: `test_idle_frames_at_the_limit_and_one_more`, `test_content_allows_more_idle_frames` |
| 67 | 9218 7.2 | priorities: 128 octets, 32 of streams to come | unit/engine/h3/test_control.py: `test_a_priority_at_the_limit_of_octets_and_one_more` |
| | | | unit/engine/h3/test_connection.py: `test_priorities_of_streams_to_come_at_the_limit_and_one_more` |
| 68 | 9114 4.6, 6.2.2, 7.2.7 | push is never used | unit/engine/h3/test_connection.py: `test_rfc9114_6_2_2_push_streams` |
| 69 | 9114 5.2, 7.2.6 | GOAWAY only falls | unit/engine/h3/test_control.py: `test_rfc9114_5_2_goaway_never_grows` |
| 70 | 9114 4.1 | 8 interim answers | unit/engine/h3/test_client.py: `test_interim_responses_at_the_limit_and_one_more` |
| 71 | 9000 21.6 | a request that trickles, an answer that nobody takes | unit/connection/test_quic_downstream.py: `test_a_head_that_does_not_come_is_408`, `test_rfc9000_21_6_content_that_trickles_is_408`, `test_a_reader_that_stopped_loses_its_stream` |
| 72 | 9114 5.2 | 10 000 requests, an hour | unit/engine/h3/test_connection.py: `test_requests_at_the_limit_and_one_more`, `test_the_age_of_a_connection_at_the_limit_and_later` |
| 73 | 9000 19.19 | 256 octets of a reason | unit/engine/quic/test_frames.py: `test_limit_of_a_reason_and_one_more` |
"""  # noqa: E501 - a table

import pytest
from tests.unit.engine.h3.peers import GET

from headgate.engine.h3.connection import MAX_HEADERS_FRAME
from headgate.engine.h3.errors import H3_EXCESSIVE_LOAD
from headgate.engine.h3.frames import DATA, HEADERS, SETTINGS, encode_frame
from headgate.engine.h3.qpack_encoder import QpackEncoder
from headgate.engine.h3.settings import MAX_SETTINGS_OCTETS
from headgate.engine.message.events import RequestRefused
from headgate.engine.quic import errors, frames
from headgate.engine.quic.connection_ids import MAX_PEER_IDS, MAX_RETIRING
from headgate.engine.quic.crypto_buffer import MAX_CRYPTO_AHEAD, MAX_CRYPTO_REPEATS
from headgate.engine.quic.flow import CONNECTION_WINDOW, STREAM_WINDOW
from headgate.engine.quic.levels import APPLICATION, INITIAL
from headgate.engine.quic.stream import MAX_BIDI_STREAMS, MAX_UNI_STREAMS
from headgate.engine.varint import encode_varint
from headgate.testing.quic_memory import Duel
from headgate.testing.quic_raw import encode_crypto, encode_stream


def held(duel):
    """Send one packet more; it must be answered and close nothing."""
    duel.send(frames.PING_FRAME)
    assert duel.raw.close is None
    return duel


def refused(duel, code, *, is_application=False):
    close = duel.closed()
    assert (close.code, close.is_application) == (code, is_application)


@pytest.mark.parametrize("beyond", [0, 1])
def test_rfc9000_7_5_sparse_crypto_of_a_whole_connection(beyond):
    duel = Duel()
    duel.raw.take_crypto()
    duel.put(duel.raw.initial(encode_crypto(MAX_CRYPTO_AHEAD - 1 + beyond, b"x")))
    duel.settle()
    if beyond:
        refused(duel, errors.CRYPTO_BUFFER_EXCEEDED)
    else:
        assert duel.raw.close is None
        assert duel.quic._spaces[INITIAL].crypto_in._bits.count(b"\0") == MAX_CRYPTO_AHEAD // 8 - 1


@pytest.mark.parametrize("beyond", [0, 1])
def test_rfc9000_21_9_crypto_for_nothing_of_a_whole_connection(beyond):
    duel = Duel()
    raw = duel.raw
    raw.take_crypto()
    again = encode_crypto(MAX_CRYPTO_AHEAD - 1, b"x")
    duel.put(raw.initial(again))  # it brings something, and allows three more
    left = MAX_CRYPTO_REPEATS + 3 + beyond
    while left:
        count = min(left, 100)
        duel.put(raw.initial(again * count))
        left -= count
    duel.settle()
    if beyond:
        refused(duel, errors.PROTOCOL_VIOLATION)
    else:
        assert raw.close is None


def test_rfc9001_6_2_a_second_key_update_before_the_first_was_acknowledged():
    duel = Duel().shake()
    duel.raw.update_keys()
    held(duel).advance(1.0)
    duel.raw.update_keys()  # the first one was acknowledged
    held(duel)
    duel.raw.update_keys()
    duel.put(duel.raw.packet(APPLICATION, frames.PING_FRAME))
    duel.raw.update_keys()
    duel.put(duel.raw.packet(APPLICATION, frames.PING_FRAME))
    assert duel.quic.end.code == errors.KEY_UPDATE_ERROR


@pytest.mark.parametrize(("first", "limit"), [(0, MAX_BIDI_STREAMS), (2, MAX_UNI_STREAMS)])
def test_rfc9000_4_6_one_stream_too_many(first, limit):
    duel = Duel().shake()
    held(duel.send(encode_stream(4 * (limit - 1) + first, 0, b"")))
    duel.send(encode_stream(4 * limit + first, 0, b""))
    refused(duel, errors.STREAM_LIMIT_ERROR)


def test_rfc9000_4_1_one_octet_too_many_of_a_stream():
    duel = Duel().shake()
    held(duel.send(encode_stream(0, STREAM_WINDOW - 1, b"x")))
    duel.send(encode_stream(0, STREAM_WINDOW, b"x"))
    refused(duel, errors.FLOW_CONTROL_ERROR)


def test_rfc9000_4_1_one_octet_too_many_of_a_connection():
    duel = Duel().shake()
    count = CONNECTION_WINDOW // STREAM_WINDOW
    for at in range(count):
        duel.send(encode_stream(4 * at, STREAM_WINDOW - 1, b"x"))
    held(duel).send(encode_stream(4 * count, 0, b"x"))
    refused(duel, errors.FLOW_CONTROL_ERROR)


def new_id(sequence, prior=0):
    return frames.encode_new_connection_id(sequence, prior, sequence.to_bytes(8, "big"), bytes(16))


def test_rfc9000_5_1_1_one_connection_id_too_many():
    duel = Duel().shake()
    held(duel.send(*(new_id(sequence) for sequence in range(1, MAX_PEER_IDS))))
    duel.send(new_id(MAX_PEER_IDS))
    refused(duel, errors.CONNECTION_ID_LIMIT_ERROR)


def test_rfc9000_5_1_2_retirements_that_are_never_acknowledged():
    duel = Duel().shake()
    duel.raw.acknowledges = False
    for sequence in range(1, MAX_RETIRING + 1):
        duel.send(new_id(sequence, sequence))
        assert duel.raw.close is None
    duel.send(new_id(MAX_RETIRING + 1, MAX_RETIRING + 1))
    assert duel.quic.end.code == errors.CONNECTION_ID_LIMIT_ERROR


def test_rfc9000_21_4_an_acknowledgement_of_what_was_never_sent():
    duel = Duel().shake()
    held(duel)
    sent = duel.quic.recovery.spaces[APPLICATION].next_number
    duel.send(frames.encode_ack([sent + 10, sent + 10], 0, None, 100))
    refused(duel, errors.PROTOCOL_VIOLATION)


def test_forged_packets_cost_their_connection_nothing():
    duel = Duel().shake()
    packet = duel.raw.packet(APPLICATION, frames.PING_FRAME, size=60)
    for at in range(1000):
        duel.put(packet[:-2] + at.to_bytes(2, "big") if packet[-2:] != at.to_bytes(2, "big") else packet)
    assert duel.quic.dropped["forged"] >= 999
    held(duel)


CONTROL = b"\0" + encode_frame(SETTINGS, b"")


@pytest.mark.parametrize("beyond", [0, 1])
def test_rfc9114_7_2_4_settings_that_are_too_long(beyond):
    duel = Duel().shake()
    length = MAX_SETTINGS_OCTETS + beyond
    duel.send(encode_stream(2, 0, b"\0" + encode_varint(SETTINGS) + encode_varint(length)))
    if beyond:
        refused(duel, H3_EXCESSIVE_LOAD, is_application=True)
    else:
        held(duel)


def test_rfc9114_4_2_2_a_section_that_decodes_to_too_much_is_431():
    duel = Duel().shake()
    names = [name for name, _ in GET]
    lines = [name + b": " + value for name, value in GET]
    section = QpackEncoder().encode(0, names, lines) + b"\xed" * 1000
    assert len(section) < MAX_HEADERS_FRAME
    duel.send(encode_stream(2, 0, CONTROL))
    frame = encode_frame(HEADERS, section)
    duel.send(encode_stream(0, 0, frame[:600]), encode_stream(0, 600, frame[600:] + encode_frame(DATA, b"x")))
    (event,) = duel.server.refused
    assert isinstance(event, RequestRefused)
    assert event.status == 431
    held(duel)
