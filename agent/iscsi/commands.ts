/** Commands to a disk, and what it answers: SBC-3 and SPC-4. All numbers are big-endian. */
export interface Command {
  readonly cdb: Buffer
  readonly direction: 'none' | 'in' | 'out'
  /** Filled, or sent, whole; must stay until the answer is there. */
  readonly data: Buffer
}

const NOTHING = Buffer.alloc(0)
const LONG_CDB_BYTES = 16
const READ_16 = 0x88
const WRITE_16 = 0x8a
const SYNCHRONIZE_CACHE_16 = 0x91
const WRITE_SAME_16 = 0x93
const SERVICE_ACTION_IN_16 = 0x9e
const READ_CAPACITY = 0x10
const GET_LBA_STATUS = 0x12
const INQUIRY = 0x12
const UNMAP_BIT = 0x08
const CAPACITY_BYTES = 32
const STATUS_HEAD_BYTES = 8
const STATUS_BYTES = 16
/** Runs that are asked for at once. */
const STATUS_RUNS = 64

function longCdb(operation: number, { lba = 0, blocks = 0 }: Partial<Blocks> = {}): Buffer {
  const cdb = Buffer.alloc(LONG_CDB_BYTES)
  cdb[0] = operation
  cdb.writeBigUInt64BE(BigInt(lba), 2)
  cdb.writeUInt32BE(blocks, 10)
  return cdb
}

export interface Blocks {
  readonly lba: number
  readonly blocks: number
}

export function readBlocks(at: Blocks, data: Buffer): Command {
  return { cdb: longCdb(READ_16, at), direction: 'in', data }
}

export function writeBlocks(at: Blocks, data: Buffer): Command {
  return { cdb: longCdb(WRITE_16, at), direction: 'out', data }
}

/** Makes all of them what one block is, which may be zeros: the target may then give them back instead, if they read as zeros. */
export function unmapAsZeros(at: Blocks, zeroBlock: Buffer): Command {
  const cdb = longCdb(WRITE_SAME_16, at)
  cdb[1] = UNMAP_BIT
  return { cdb, direction: 'out', data: zeroBlock }
}

/** Of all blocks. */
export function synchronizeCache(): Command {
  return { cdb: longCdb(SYNCHRONIZE_CACHE_16), direction: 'none', data: NOTHING }
}

export function testUnitReady(): Command {
  return { cdb: Buffer.alloc(6), direction: 'none', data: NOTHING }
}

export function inquiry(page: number | undefined, bytes: number): Command {
  const cdb = Buffer.from([INQUIRY, page === undefined ? 0 : 1, page ?? 0, bytes >> 8, bytes & 255, 0])
  return { cdb, direction: 'in', data: Buffer.alloc(bytes) }
}

export function readCapacity(): Command {
  const cdb = longCdb(SERVICE_ACTION_IN_16, { blocks: CAPACITY_BYTES })
  cdb[1] = READ_CAPACITY
  return { cdb, direction: 'in', data: Buffer.alloc(CAPACITY_BYTES) }
}

export interface Capacity {
  readonly blocks: number
  readonly blockBytes: number
  /** Blocks that hold nothing take no room, and read as zeros. */
  readonly isThin: boolean
}

export function parseCapacity(data: Buffer): Capacity {
  const provisioning = data[14] ?? 0
  return {
    blocks: Number(data.readBigUInt64BE(0)) + 1,
    blockBytes: data.readUInt32BE(8),
    isThin: (provisioning & 0xc0) === 0xc0,
  }
}

export function getLbaStatus(lba: number): Command {
  const bytes = STATUS_HEAD_BYTES + STATUS_RUNS * STATUS_BYTES
  const cdb = longCdb(SERVICE_ACTION_IN_16, { lba, blocks: bytes })
  cdb[1] = GET_LBA_STATUS
  return { cdb, direction: 'in', data: Buffer.alloc(bytes) }
}

export interface Run extends Blocks {
  readonly isMapped: boolean
}

/** @returns runs one behind the other from `lba` on; fewer where they make no sense */
export function parseLbaStatus(data: Buffer, lba: number): readonly Run[] {
  const end = Math.min(data.length, 4 + data.readUInt32BE(0))
  const runs: Run[] = []
  let next = lba
  for (let at = STATUS_HEAD_BYTES; at + STATUS_BYTES <= end; at += STATUS_BYTES) {
    const from = Number(data.readBigUInt64BE(at))
    const until = from + data.readUInt32BE(at + 8)
    // The first may begin before.
    const fits = from === next || (runs.length === 0 && from < next)
    if (!fits || until <= next) break
    runs.push({ lba: next, blocks: until - next, isMapped: ((data[at + 12] ?? 0) & 0x0f) === 0 })
    next = until
  }
  return runs
}

export const PAGES = { identity: 0x83, limits: 0xb0, provisioning: 0xb2 } as const

/** The names of the unit itself, without those of the ports it is seen through. */
export function parseIdentity(page: Buffer): readonly string[] {
  const end = Math.min(page.length, 4 + page.readUInt16BE(2))
  const names: string[] = []
  for (let at = 4; at + 4 <= end; at += 4 + (page[at + 3] ?? 0)) {
    const isOfUnit = ((page[at + 1] ?? 0) & 0x30) === 0
    const until = at + 4 + (page[at + 3] ?? 0)
    if (isOfUnit && until <= end) names.push(page.toString('hex', at, until))
  }
  return names.toSorted()
}

/** @returns blocks; Infinity where it tells none */
export function parseLimits(page: Buffer): { readonly transfer: number; readonly same: number } {
  const orNone = (value: number) => (value === 0 ? Number.POSITIVE_INFINITY : value)
  return { transfer: orNone(page.readUInt32BE(8)), same: orNone(Number(page.readBigUInt64BE(36))) }
}

/** Whether blocks can be given back by writing the same zeros to them. */
export function parseProvisioning(page: Buffer): boolean {
  return ((page[5] ?? 0) & 0x40) !== 0
}
