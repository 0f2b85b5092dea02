import { FleetError } from '../../../shared/errors.ts'

/**
 * The stream of `btrfs send`, protocols 1 to 3 (linux fs/btrfs/send.h; seen with Linux 6.18 and btrfs-progs 6.2): a header,
 * then commands of typed attributes. Sums are not checked: it comes through a pipe of this host.
 */
const MAGIC = Buffer.from('btrfs-stream\0')
const HEADER_BYTES = MAGIC.length + 4
const NEWEST_VERSION = 3
/** Length of what follows (32 bits), kind (16), CRC-32C (32). */
const COMMAND_BYTES = 10
/** Type and length, 16 bits each. */
const ATTRIBUTE_BYTES = 4
/** Without data the longest is an extended attribute of 64 KiB. */
const MAX_COMMAND_BYTES = 2 ** 20

const ATTRIBUTES = { path: 15, pathTo: 16, pathLink: 17, data: 19 } as const
const KINDS = [
  'unspecified',
  'subvol',
  'snapshot',
  'mkfile',
  'mkdir',
  'mknod',
  'mkfifo',
  'mksock',
  'symlink',
  'rename',
  'link',
  'unlink',
  'rmdir',
  'set-xattr',
  'remove-xattr',
  'write',
  'clone',
  'truncate',
  'chmod',
  'chown',
  'utimes',
  'end',
  'update-extent',
  'fallocate',
  'file-attributes',
  'encoded-write',
  'enable-verity',
] as const

export interface SendCommand {
  readonly kind: (typeof KINDS)[number]
  /** Below the image's root, one character a byte; '' is the root. */
  readonly path: string
  /** Of a rename: the new path. Of a link: a name that the file has. Of a symbolic link: its text. */
  readonly other: string
}

/** Cuts the stream into commands as it comes; keeps no more than one of them. */
export class SendStream {
  readonly #take: (command: SendCommand) => void
  #rest: Buffer = Buffer.alloc(0)
  #begun = false
  #ended = false

  constructor(take: (command: SendCommand) => void) {
    this.#take = take
  }

  /** @throws internal: it is none, or newer than what is known here */
  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    if (!this.#begun) {
      if (bytes.length < HEADER_BYTES) {
        this.#rest = Buffer.from(bytes)
        return
      }
      at = checkHeader(bytes)
      this.#begun = true
    }
    while (bytes.length - at >= COMMAND_BYTES) {
      const length = bytes.readUInt32LE(at)
      if (length > MAX_COMMAND_BYTES) throw unreadable('a command is too long')
      if (bytes.length - at - COMMAND_BYTES < length) break
      const start = at + COMMAND_BYTES
      this.#command(bytes.readUInt16LE(at + 4), bytes.subarray(start, start + length))
      at = start + length
    }
    this.#rest = Buffer.from(bytes.subarray(at))
  }

  /** @throws internal when the stream was cut short */
  finish(): void {
    if (!this.#ended) throw unreadable('it ends too early')
  }

  #command(number: number, attributes: Buffer): void {
    const kind = KINDS[number]
    if (kind === undefined || kind === 'unspecified') throw unreadable(`command ${number} is unknown`)
    if (kind === 'end') this.#ended = true
    else this.#take({ kind, ...pathsOf(attributes) })
  }
}

function checkHeader(bytes: Buffer): number {
  const version = bytes.readUInt32LE(MAGIC.length)
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw unreadable('it is none')
  if (version < 1 || version > NEWEST_VERSION) throw unreadable(`version ${version} is unknown`)
  return HEADER_BYTES
}

function pathsOf(attributes: Buffer): { readonly path: string; readonly other: string } {
  let [path, other] = ['', '']
  for (let at = 0; at + ATTRIBUTE_BYTES <= attributes.length; ) {
    const type = attributes.readUInt16LE(at)
    // Since version 2 data have no length: they are the rest.
    if (type === ATTRIBUTES.data) break
    const start = at + ATTRIBUTE_BYTES
    at = start + attributes.readUInt16LE(at + 2)
    if (at > attributes.length) throw unreadable('an attribute is cut')
    if (type === ATTRIBUTES.path) path = attributes.toString('latin1', start, at)
    if (type === ATTRIBUTES.pathTo || type === ATTRIBUTES.pathLink) other = attributes.toString('latin1', start, at)
  }
  return { path, other }
}

function unreadable(why: string): FleetError {
  return new FleetError('internal', 'the change list of btrfs cannot be read', { detail: why })
}
