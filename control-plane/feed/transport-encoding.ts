import type { FeedEvent } from '../core/feed.ts'

function sameEvents(left: readonly FeedEvent[], right: readonly FeedEvent[]): boolean {
  return left.length === right.length && left.every((event, index) => event === right[index])
}

/**
 * Encodes a batch once for all clients that get it: live, thousands of them are handed the very same events one after
 * the other, so remembering the last batch is enough.
 */
export function createBatchEncoder(encode: (event: FeedEvent) => Buffer): (events: readonly FeedEvent[]) => Buffer {
  let lastEvents: readonly FeedEvent[] = []
  let lastBytes = Buffer.alloc(0)
  return (events) => {
    if (sameEvents(events, lastEvents)) return lastBytes
    lastBytes = Buffer.concat(events.map(encode))
    lastEvents = [...events]
    return lastBytes
  }
}

/** RFC 6455, section 5.2: FIN and the text opcode, then 7, 16 or 64 bits of length; servers do not mask. */
export function encodeTextFrame({ json }: FeedEvent): Buffer {
  const sizeBytes = Buffer.byteLength(json)
  const extended = sizeBytes < 126 ? 0 : sizeBytes < 65_536 ? 2 : 8
  const frame = Buffer.allocUnsafe(2 + extended + sizeBytes)
  frame[0] = 0x81
  frame[1] = extended === 0 ? sizeBytes : extended === 2 ? 126 : 127
  if (extended === 2) frame.writeUInt16BE(sizeBytes, 2)
  if (extended === 8) frame.writeBigUInt64BE(BigInt(sizeBytes), 2)
  frame.write(json, 2 + extended)
  return frame
}

/** One server-sent event. It has no `event:` line, so a page needs one `onmessage` for all types. JSON holds no line break. */
export function encodeServerSentEvent({ seq, json }: FeedEvent): Buffer {
  return Buffer.from(`id: ${seq}\ndata: ${json}\n\n`)
}
