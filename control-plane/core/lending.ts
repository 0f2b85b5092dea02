import type { LunConnection } from '../../shared/volume-spec.ts'

/** A volume of the block service behind us, as that tells it. */
export interface LentVolume {
  readonly id: string
  readonly name: string | null
  /** Its own words: `available`, `in-use`, `creating`, `error`, … */
  readonly status: string
  /** Whole GiB. */
  readonly sizeBytes: number
  readonly metadata: Readonly<Record<string, string>>
  /** Null where it says that to nobody. */
  readonly project: string | null
  /** Its bytes are of no use to anybody but the service. */
  readonly isEncrypted: boolean
}

export interface LentSnapshot {
  readonly id: string
  readonly name: string | null
  readonly volumeId: string
  readonly status: string
  readonly sizeBytes: number
  /** As it tells it, without a zone: these sort. */
  readonly createdAt: string
}

/** Where a LUN is to be found, and what lets its initiator in. */
export type LentLun = Omit<LunConnection, 'chap'> & {
  readonly chap: { readonly user: string; readonly secret: string } | null
}

export interface LunInitiator {
  readonly host: string
  readonly initiator: string
}

/**
 * What the block service behind us does for us, under our own credentials, whatever project a thing is of. What is asked to go and is gone
 * already has gone. All throw unavailable, refused (our credentials do not do), conflict (what it says of a state that forbids it).
 */
export interface LendingService {
  /** @throws refused: there is nothing to log in with. */
  ready(): void
  /** Several where an answer was lost. */
  snapshotsNamed(project: string, name: string): Promise<readonly LentSnapshot[]>
  snapshot(project: string, id: string): Promise<LentSnapshot | undefined>
  makeSnapshot(project: string, wish: { readonly name: string; readonly volumeId: string }): Promise<void>
  deleteSnapshot(project: string, id: string): Promise<void>
  volume(project: string, id: string): Promise<LentVolume | undefined>
  volumesNamed(project: string, name: string): Promise<readonly LentVolume[]>
  volumesMarked(project: string, mark: LoanMark): Promise<readonly LentVolume[]>
  makeVolume(
    project: string,
    wish: { readonly name: string; readonly snapshotId: string; readonly sizeBytes: number },
  ): Promise<void>
  deleteVolume(project: string, id: string): Promise<void>
  /** Nobody else attaches it from then on. */
  reserve(project: string, id: string): Promise<void>
  unreserve(project: string, id: string): Promise<void>
  /** The same initiator is told the same again. @throws refused: it is no iSCSI LUN */
  connect(project: string, id: string, to: LunInitiator): Promise<LentLun>
  disconnect(project: string, id: string, from: LunInitiator): Promise<void>
}

/** One member of a volume's metadata, by which a volume that somebody asked for is found again. */
export interface LoanMark {
  readonly name: string
  readonly value: string
}

/** The same service in the name of whoever shows a token of it. @throws unauthorized and forbidden, as it says so */
export interface CallersService {
  /** The project of the token that a request shows; undefined where it shows none of that service's. @throws unauthorized, unavailable */
  projectOf(token: string | undefined): Promise<string | undefined>
  volume(as: TokenOf, id: string): Promise<LentVolume | undefined>
  snapshot(as: TokenOf, id: string): Promise<LentSnapshot | undefined>
  /** Of one volume, the newest last: those that the project has. */
  snapshotsOf(as: TokenOf, volumeId: string): Promise<readonly LentSnapshot[]>
  /** @returns what it says of it, as it is */
  makeVolume(as: TokenOf, body: Readonly<Record<string, unknown>>): Promise<{ readonly id: string }>
  /** What it says of a volume, as it is. @throws not_found */
  told(as: TokenOf, volumeId: string): Promise<{ readonly id: string }>
  revert(as: TokenOf, volumeId: string, snapshotId: string): Promise<void>
}

export interface TokenOf {
  readonly token: string
  readonly project: string
}
