import { readSync, writeSync } from 'node:fs'
import type { BytePath } from '../byte-path.ts'
import type { Realms } from './realms.ts'

const FIRST_SLOTS = 1_024
const FIELDS = 3

const ONE_TREE = { number: (inode: number) => inode }

export interface FirstName {
  readonly path: BytePath
  /** Where its member begins in the tar. */
  readonly offset: number
}

/**
 * Which files with several names are in the archive already. Numbers are kept in a flat table (48 bytes a file at the
 * most), names in an unlinked file, so a million of them stay far below the bound on memory.
 */
export class LinkTable {
  readonly #spillFd: number
  readonly #realms: Pick<Realms, 'number'>
  #spilledBytes = 0
  #table = new Float64Array(FIRST_SLOTS * FIELDS)
  #count = 0

  /** @param spillFd of an empty file, open for reading and writing @param realms tell which tree an inode is of */
  constructor(spillFd: number, realms: Pick<Realms, 'number'> = ONE_TREE) {
    this.#spillFd = spillFd
    this.#realms = realms
  }

  /** @param number as the index has it: of all realms */
  has(number: number): boolean {
    return this.#table[this.#place(this.#table, number)] === number
  }

  find(own: number): FirstName | undefined {
    const inode = this.#realms.number(own)
    const at = this.#place(this.#table, inode)
    if (this.#table[at] !== inode) return undefined
    const head = Buffer.alloc(4)
    const position = this.#table[at + 1] ?? 0
    readSync(this.#spillFd, head, 0, 4, position)
    const name = Buffer.alloc(head.readUInt32LE(0))
    readSync(this.#spillFd, name, 0, name.length, position + 4)
    return { path: name.toString('latin1'), offset: this.#table[at + 2] ?? 0 }
  }

  remember(own: number, first: FirstName): void {
    const inode = this.#realms.number(own)
    if (2 * this.#count * FIELDS >= this.#table.length) this.#double()
    const record = Buffer.alloc(4 + first.path.length)
    record.writeUInt32LE(first.path.length, 0)
    record.write(first.path, 4, 'latin1')
    const at = this.#place(this.#table, inode)
    this.#table[at] = inode
    this.#table[at + 1] = this.#spilledBytes
    this.#table[at + 2] = first.offset
    this.#count += 1
    writeSync(this.#spillFd, record, 0, record.length, this.#spilledBytes)
    this.#spilledBytes += record.length
  }

  #double(): void {
    const old = this.#table
    this.#table = new Float64Array(2 * old.length)
    for (let from = 0; from < old.length; from += FIELDS) {
      const inode = old[from] ?? 0
      if (inode !== 0) this.#table.set(old.subarray(from, from + FIELDS), this.#place(this.#table, inode))
    }
  }

  /** Open addressing; inode 0 does not exist, so it marks what is free. */
  #place(table: Float64Array, inode: number): number {
    const slots = table.length / FIELDS
    let slot = (Math.imul(inode % 2 ** 31, 0x9e3779b1) >>> 0) % slots
    while (table[slot * FIELDS] !== 0 && table[slot * FIELDS] !== inode) slot = (slot + 1) % slots
    return slot * FIELDS
  }
}
