/** Who may log in. */
export interface Access {
  /** iSCSI names in lower case; never empty. */
  readonly initiators: readonly string[]
  readonly chap: { readonly user: string; readonly secret: string } | undefined
  /** The target refuses whatever would change the volume. */
  readonly isReadonly?: boolean | undefined
}

export interface WantedTarget {
  /** The target's iSCSI name, in lower case. */
  readonly wwn: string
  /** What its LUN is: an absolute path of a block device or raw image. */
  readonly device: string
  /** Of the volume: the LUN shows it as serial number and NAA identity, so that an initiator never takes one volume for another. */
  readonly guid: string
  readonly access: Access
}

export interface Session {
  readonly initiator: string
  /** `address:port` of the initiator where it can be told, else ''. */
  readonly address: string
}

export interface StandingTarget {
  readonly wwn: string
  /** '' while none is shown: a call was cut off in the middle of it. */
  readonly device: string
  readonly guid: string | undefined
  readonly initiators: readonly string[]
  readonly hasChap: boolean
  readonly isReadonly: boolean
  readonly sessions: readonly Session[]
}

/**
 * Targets of one technology on this host: one a wwn, one LUN (`lun`), an ACL of exactly the listed initiators. Only targets that this agent made
 * are listed, changed or removed; one that somebody else made under a wwn is `conflict`. Methods are idempotent and may be called for
 * hundreds of targets at once: each fails alone, and answers stand in the requests' sequence. A target is open to nobody before all
 * of it stands, and a wwn that comes to another device never shows it to a session of the old one.
 */
export interface ExportTargets {
  readonly name: 'tgt' | 'lio'
  /** `addr:port` of where initiators find them. */
  readonly portals: readonly string[]
  /** Which one of each target the volume is. */
  readonly lun: number
  /** Makes each as wanted. Stale initiators go, and their sessions are closed. `conflict` where the wwn serves another device, or another wwn this one. */
  apply(wanted: readonly WantedTarget[], signal: AbortSignal): Promise<readonly (Error | undefined)[]>
  /** `conflict` ('in use', with the initiators as blockers) while one has a session, unless `force`: sessions, LUN, backing store, target. */
  remove(
    asked: readonly { readonly wwn: string; readonly force: boolean }[],
    signal: AbortSignal,
  ): Promise<readonly (Error | undefined)[]>
  /** @param wwns only these of them */
  list(signal: AbortSignal, wwns?: readonly string[]): Promise<readonly StandingTarget[]>
  /** What `StandingTarget.guid` is of a volume with this one. */
  shownGuid(guid: string): string
  /** After a resize: initiators are told where the technology can. */
  resized(device: string, signal: AbortSignal): Promise<void>
  /** Calls back when all targets are gone at once (the daemon died and was started again, the configuration was cleared). */
  onLost(callback: () => void): void
  close(): Promise<void>
}
