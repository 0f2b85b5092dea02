/** What is kept sealed: targets' passwords, CHAP secrets. No answer, event, log line or audit row ever holds one. */
export interface NewSecret {
  /** Whose it is; null for the fleet's own. */
  readonly groupId: string | null
  /** What it is for: `target-password`, `chap`. */
  readonly kind: string
  readonly bytes: Buffer
}

export interface Secrets {
  /** @returns the id under which the noun that it belongs to keeps it. */
  put(secret: NewSecret): Promise<string>
  /** @throws not_found. */
  replace(id: string, bytes: Buffer): Promise<void>
  /** @throws not_found; internal when it cannot be opened. */
  open(id: string): Promise<Buffer>
  /** Absent ones are deleted already. */
  delete(id: string): Promise<void>
}

/** Seals secrets on their way to an agent, so that only that agent reads them. */
export interface HostSeal {
  /**
   * @param context what it is for; opening needs the same: `order/<job id>`.
   * @returns base64. @throws refused when the host has no key to seal with: it was not enrolled, or was removed.
   */
  seal(host: string, secret: Buffer, context: string): Promise<string>
}

/** A row as Postgres keeps it. */
export interface SealedRow {
  readonly id: string
  readonly groupId: string | null
  readonly kind: string
  readonly sealed: Buffer
  readonly keyId: string
}

/** What Postgres must do for secrets. It never sees a key. */
export interface SealedRows {
  /** @returns false when there is one with that id already. */
  insert(row: SealedRow): Promise<boolean>
  find(id: string): Promise<SealedRow | undefined>
  /** @returns false when there is none. */
  reseal(row: Pick<SealedRow, 'id' | 'sealed' | 'keyId'>): Promise<boolean>
  remove(id: string): Promise<void>
  /** Re-seals, in one transaction, rows after `after` that another key than `keyId` sealed. What `reseal` leaves out stays. */
  resealOthers(
    batch: { readonly keyId: string; readonly after: string; readonly limit: number },
    reseal: (row: SealedRow) => Buffer | undefined,
  ): Promise<{ readonly last: string | undefined; readonly done: number; readonly left: number }>
  /** How many rows each key has sealed. */
  byKey(): Promise<ReadonlyMap<string, number>>
}
