import { cString } from '../../native/libc.ts'
import { Status } from '../../native/status.ts'
import type { BytePath } from '../byte-path.ts'
import { FLAGS, HeaderEncoder, paxRecord } from '../tar-header.ts'
import { DIRECTORY, isFile, type Level, unmarked } from './tree-levels.ts'

/**
 * For plain tar: a directory that lost entries, with the names it still has, as GNU tar's incremental archives list them.
 * `tar -xG` deletes what is not listed. (tar's manual, "Dumpdir")
 */
export class GoneTar {
  readonly #encoder = new HeaderEncoder()
  readonly #status = new Status()

  member(level: Level): Uint8Array<ArrayBuffer> {
    const listed = level.names.map((name) => this.#listed(level, name))
    const status = this.#status.readDescriptor(level.fd)
    const header = this.#encoder.encode({
      name: level.path === '' ? './' : `./${level.path}/`,
      flag: FLAGS.directory,
      mode: status.permissions,
      uid: status.uid,
      gid: status.gid,
      mtime: status.modified,
      size: 0,
      link: '',
      major: 0,
      minor: 0,
      records: [paxRecord('GNU.dumpdir', `${listed.join('')}\0`)],
    })
    return new Uint8Array(header)
  }

  /** tar deletes what is listed as another kind than it finds, a whole directory too, so nothing is guessed. */
  #listed(level: Level, name: BytePath): string {
    if (name.endsWith(DIRECTORY)) return `D${unmarked(name)}\0`
    if (isFile(name)) return `Y${unmarked(name)}\0`
    const kind = this.#status.readName(level.fd, cString(Buffer.from(name, 'latin1')))?.kind
    // No archive holds a socket; what had its name before is gone.
    if (kind === 'socket') return ''
    return `${kind === 'directory' ? 'D' : 'Y'}${name}\0`
  }
}
