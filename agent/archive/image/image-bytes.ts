import assert from 'node:assert/strict'
import type { LunLogin } from '../../iscsi/connection.ts'
import type { ProblemReason } from '../member.ts'
import { FileBytes } from './file-bytes.ts'
import type { LunBytes } from './lun-bytes.ts'

/** Where an image is: plain data, which may be handed to a thread. */
export type ImagePlace =
  /** Of a file or block device; stays open. */
  | { readonly fd: number; readonly lun?: undefined }
  /** Logged in to by the thread that reads or writes it. */
  | { readonly lun: LunLogin; readonly fd?: undefined }

/** That alone, of what tells more. */
export function placeOf({ fd, lun }: ImagePlace): ImagePlace {
  return fd === undefined ? { lun } : { fd }
}

/** The bytes of an image, for a thread that works synchronously. What fails throws a SystemError or a FleetError. */
export interface ImageBytes extends Disposable {
  /** Of what ends somewhere by itself: a file, a LUN; undefined for a device. */
  readonly endBytes: number | undefined
  /** Changes with the content, where somebody could write to it meanwhile. */
  readonly stamp: string | undefined
  /** The first that is no hole from `from` on: `start` may lie before. @returns undefined when there is nothing more */
  data(from: number): { readonly start: number; readonly end: number } | undefined
  /** All of this is read soon. */
  ahead(from: number, end: number): void
  /** Fills all of `room`; what cannot be read is zeros. @returns what was wrong */
  read(room: Buffer, position: number): ProblemReason | undefined
  write(bytes: Buffer, position: number): void
  /** Of what holds something before it is written: makes it zeros. Absent: it reads as zeros where nothing was written. */
  zero?(from: number, end: number): void
  /** Everything that was written is kept when this returns. Absent: whoever opened it sees to that. */
  flush?(): void
  /** Whether what was written may be lost, although nothing said so. */
  readonly isDoubtful: boolean
}

let loaded: typeof LunBytes | undefined

/** What a LUN needs, and nothing else does; to be awaited before `openBytes`. */
export async function loadFor(place: ImagePlace | undefined): Promise<void> {
  if (place?.lun !== undefined) loaded = (await import('./lun-bytes.ts')).LunBytes
}

/** @param stop throws when the work is to end */
export function openBytes(place: ImagePlace, stop: () => void): ImageBytes {
  if (place.lun === undefined) return new FileBytes(place.fd)
  assert(loaded)
  return new loaded(place.lun, stop)
}
