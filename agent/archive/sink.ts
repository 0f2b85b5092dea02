/** A file of a point as it lies where it went. */
export interface StoredFile {
  readonly name: string
  readonly bytes: number
  /** Hexadecimal. */
  readonly sha256: string
}

/** A file of a point while it is written. Chunks are whole buffers of megabytes; a write settles once the next may come. */
export interface SinkFile {
  /** The chunk belongs to the sink until this settles. */
  write(chunk: Uint8Array): Promise<void>
  /** All of it is stored and, where the target can tell, its size is verified. */
  close(): Promise<void>
  /** Of a closed file, where it does not lie there as it was written, or is hashed on the way anyway. */
  readonly stored?: () => StoredFile
}

/** Where a point goes. Its files are written one after the other, never two at a time. */
export interface ArchiveSink {
  open(name: string, signal: AbortSignal): Promise<SinkFile>
  /** Makes the point visible, whole and durable, under its name. */
  commit(): Promise<void>
  /** Leaves nothing behind; also after a failed commit. */
  abort(): Promise<void>
}
