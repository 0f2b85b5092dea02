/**
 * tgtd's management protocol, as spoken by tgt 1.0.85: one request and one answer a connection, numbers in the machine's own byte order
 * (little-endian on all that we run on). Source: usr/tgtadm.h, usr/tgtadm_error.h and usr/mgmt.c of tgt.
 */
const MODES = { system: 0, target: 1, unit: 2, portal: 3, driver: 4, session: 5, connection: 6, account: 7 } as const
const OPERATIONS = { new: 0, delete: 1, show: 2, bind: 3, unbind: 4, update: 5 } as const

export interface TgtRequest {
  readonly mode: keyof typeof MODES
  readonly operation: keyof typeof OPERATIONS
  /** Number of the target; absent: all. */
  readonly tid?: number
  readonly lun?: number
  readonly sid?: number
  readonly cid?: number
  /** `key=value` pairs, joined by commas as they are: a value with one would be two. */
  readonly params?: string
}

const HEAD_BYTES = 120
const DRIVER = 'iscsi'
/** tgtd takes 8 KiB. */
const MAX_PARAMS_BYTES = 8_000

/** What it answers in place of success. */
export const TGT_ERRORS = {
  noTarget: 4,
  noUnit: 5,
  noSession: 6,
  noConnection: 7,
  targetExists: 9,
  unitExists: 10,
  initiatorExists: 12,
  noInitiator: 13,
  accountExists: 14,
  noAccount: 15,
  targetActive: 19,
  unitActive: 20,
} as const

export function encodeRequest({ mode, operation, tid = -1, lun = 0, sid = 0, cid = 0, params }: TgtRequest): Buffer {
  const tail = params === undefined ? Buffer.alloc(0) : Buffer.from(`${params}\0`)
  if (tail.length > MAX_PARAMS_BYTES) throw new RangeError('a request to tgtd is too long')
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt32LE(MODES[mode], 0)
  head.writeUInt32LE(OPERATIONS[operation], 4)
  head.write(DRIVER, 8, 'latin1') // 64 bytes
  head.writeUInt32LE(HEAD_BYTES + tail.length, 72)
  head.writeInt32LE(tid, 76)
  head.writeBigUInt64LE(BigInt(sid), 80)
  head.writeBigUInt64LE(BigInt(lun), 88)
  head.writeUInt32LE(cid, 96)
  return Buffer.concat([head, tail])
}

/** @returns undefined while it is not whole */
export function decodeAnswer(bytes: Buffer): { readonly code: number; readonly text: string } | undefined {
  if (bytes.length < 8 || bytes.length < bytes.readUInt32LE(4)) return undefined
  return { code: bytes.readUInt32LE(0), text: bytes.toString('utf8', 8).replace(/\0+$/, '') }
}
