import type { ErrorCode } from '../../shared/errors.ts'

export interface Watch {
  readonly signal: AbortSignal
}

/** A file or directory as its target tells of it. */
export interface Entry {
  readonly name: string
  readonly kind: 'file' | 'directory' | 'other'
  readonly sizeBytes: number
  /** Undefined where the target does not say. */
  readonly modifiedAt: Date | undefined
}

export interface Page {
  /** In the order of their names' UTF-8, S3's own on S3. */
  readonly entries: readonly Entry[]
  /** Undefined on the last page. */
  readonly cursor: string | undefined
}

export interface FreeSpace {
  readonly freeBytes: number
  readonly totalBytes: number | undefined
}

/**
 * How it is known that the target holds what was sent: the whole was read back and hashed; the server compared checksums of
 * all of it; or only its size was asked for (what came in between was guarded by TLS, SSH or the kernel).
 */
export type Verified = 'reread' | 'checksum' | 'size'

export interface Stored {
  readonly sizeBytes: number
  /** Of the bytes that were written, hexadecimal. */
  readonly sha256: string
  readonly verified: Verified
}

export interface PutOptions extends Watch {
  /** Takes the place of a file of that name; else such a file is `exists`. */
  readonly replace?: boolean
  /** When it is known: space is reserved or asked for before the first byte. */
  readonly sizeBytes?: number
  /** Called with the sum of bytes that the sink has taken. */
  readonly progress?: (sizeBytes: number) => void
}

/**
 * One upload: open → written* → finished | aborted. It appears under its path whole or not at all, as `finish` resolves; after a
 * rejection the caller begins again with a new sink (only a cut during the very last step can leave the whole file). One call at
 * a time.
 */
export interface Sink {
  /** The chunk is the sink's until this settles: then more may come. A few MiB are on their way at most. */
  write(chunk: Buffer): Promise<void>
  /** @throws FleetError `corrupt` when what was written or what arrived is not what was expected */
  finish(expected?: { readonly sizeBytes: number; readonly sha256: string }): Promise<Stored>
  /** Harmless after `finish`, and twice. */
  abort(): Promise<void>
}

/** A file of a target that is read piece by piece; holds a slot while it is read. */
export interface RangeSource extends AsyncDisposable {
  readonly sizeBytes: number
  /** Exactly `length` bytes (at most MAX_READ_BYTES), or fewer where the file ends. */
  read(offset: number, length: number, signal: AbortSignal): Promise<Buffer>
  /** The same without a bound, in chunks; goes on where it was after a cut. */
  stream(offset: number, length: number, signal: AbortSignal): AsyncIterable<Buffer>
}
export const MAX_READ_BYTES = 64 * 2 ** 20

/**
 * Where archives go. Paths are relative, `/` between segments. Everything rejects with FleetErrors that name the target and no
 * secret: `unavailable`, `busy`, `timeout` (tried again within bounds before), `not_found`, `exists`, `no_space`, `refused`
 * (credentials, certificates, host keys, addresses, redirects, permissions), `corrupt`, `too_large`, `invalid`, `cancelled`.
 */
export interface Target extends AsyncDisposable {
  readonly name: string
  readonly features: StoreFeatures
  put(path: string, options: PutOptions): Promise<Sink>
  get(path: string, watch: Watch): Promise<RangeSource>
  /** Uploads that are not finished are not listed. */
  list(path: string, options: Watch & { readonly cursor?: string | undefined }): Promise<Page>
  stat(path: string, watch: Watch): Promise<Entry | undefined>
  /** A file or an empty directory; one that is absent is well. */
  remove(path: string, watch: Watch): Promise<void>
  /** A directory with all that is in it. */
  removeTree(path: string, watch: Watch): Promise<void>
  /** @throws FleetError `exists` unless `replace`; `invalid` for a directory where features.renameDirectory is false */
  rename(from: string, to: string, options: Watch & { readonly replace?: boolean }): Promise<void>
  /** With its parents; one that is there is well. */
  mkdir(path: string, watch: Watch): Promise<void>
  /** @throws FleetError within five seconds, saying why it cannot be used */
  ping(watch: Watch): Promise<void>
  /** Undefined where the protocol does not tell. */
  free(watch: Watch): Promise<FreeSpace | undefined>
  /** Removes what uploads that ended badly left below `path`, older than `olderThanMs`. @returns how many */
  sweep(path: string, options: Watch & { readonly olderThanMs: number }): Promise<number>
}

export interface StoreFeatures {
  /** Whether a directory can be renamed, in one step. */
  readonly renameDirectory: boolean
  /** Whether the target itself refuses to remove a directory with something in it, whoever puts it there meanwhile. */
  readonly refusesFullDirectory: boolean
}

/**
 * What one protocol does. It tries once, limits nothing, and speaks FleetErrors; `limited-target.ts` makes a Target of it.
 */
export interface Store extends AsyncDisposable {
  readonly features: StoreFeatures
  upload(path: string, options: UploadOptions): Promise<Upload>
  open(path: string, watch: Watch): Promise<StoreFile>
  /** One page; partial files included, with their names. */
  list(path: string, options: Watch & { readonly cursor: string | undefined }): Promise<Page>
  stat(path: string, watch: Watch): Promise<Entry | undefined>
  remove(path: string, watch: Watch): Promise<void>
  rename(from: string, to: string, options: Watch & { readonly replace: boolean }): Promise<void>
  /** One level; one that is there is well. */
  mkdir(path: string, watch: Watch): Promise<void>
  ping(watch: Watch): Promise<void>
  free(watch: Watch): Promise<FreeSpace | undefined>
  /** Unfinished uploads that no listing shows. */
  sweepHidden?(path: string, options: Watch & { readonly before: Date }): Promise<number>
}

export interface UploadOptions extends Watch {
  /** Where it is written until it is published, on protocols that write files. */
  readonly partialPath: string
  readonly sizeBytes: number | undefined
  readonly replace: boolean
}

export interface Upload {
  /** The chunk is the upload's until this settles. */
  write(chunk: Buffer): Promise<void>
  /** All of it is with the server, durable where the protocol can ask for it. */
  close(): Promise<void>
  /** Under its own name, in one step. @returns whether the server compared checksums of all of it */
  publish(): Promise<{ readonly checksum: boolean }>
  /** Takes away what was written; must not hang on a server that is gone. */
  discard(): Promise<void>
  /** Whether `partialPath` can be read between `close` and `publish`. */
  readonly readable: boolean
}

export interface StoreFile {
  readonly sizeBytes: number
  stream(offset: number, length: number, signal: AbortSignal): AsyncIterable<Buffer>
  close(): Promise<void>
}

/** What may be well on another try. */
export const RETRIED: ReadonlySet<ErrorCode> = new Set(['unavailable', 'busy', 'timeout'])
