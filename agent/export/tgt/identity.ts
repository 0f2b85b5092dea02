import { createHash } from 'node:crypto'

/** What an initiator sees of a volume: the same for the same guid, another one for every other. A serial number is its own guid. */
export interface UnitIdentity {
  /** Unit serial number, VPD page 0x80: 36 characters at most (SCSI_SN_LEN of tgt). */
  readonly serial: string
  /**
   * 24 hex digits (SCSI_ID_LEN of tgt): the T10 designator of VPD page 0x83, and, as tgt reads it as a number, its NAA designator of
   * 16 bytes, which is what Linux names a disk by.
   */
  readonly scsiId: string
}

const SERIAL = /^[A-Za-z0-9._-]{1,36}$/

export function unitIdentity(guid: string): UnitIdentity {
  const serial = SERIAL.test(guid) ? guid : hashOf(guid).slice(0, 32)
  return { serial, scsiId: hashOf(serial).slice(0, 24) }
}

/** Below 2^28, because the number of a target is half of the 8-byte NAA designator, whose first four bits are not its own. */
const MAX_TID = 2 ** 28 - 1

/**
 * Which number a target of that volume gets: of the guid too, so that one that comes after another never has the other's designator.
 * @param nth of the numbers that are tried, from 0
 */
export function targetNumber(guid: string, nth: number): number {
  return 1 + ((Number.parseInt(hashOf(guid).slice(24, 32), 16) + nth) % MAX_TID)
}

function hashOf(guid: string): string {
  return createHash('sha256').update(guid).digest('hex')
}
