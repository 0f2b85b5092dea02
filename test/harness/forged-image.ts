import { hash } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import { chunkPath, type ImageShape, shapeText, VOLUME } from '../../agent/archive/image/image-shape.ts'
import { LocalSink } from '../../agent/archive/local-sink.ts'
import { type Member, memberLine } from '../../agent/archive/member.ts'
import { FLAGS, HeaderEncoder, type HeaderFields, paddingOf } from '../../agent/archive/tar-header.ts'
import { ArchiveFiles } from '../../agent/archive/write/archive-files.ts'
import { calm } from './archive.ts'

/** A member as an attacker writes it: what is not told is as it should be. */
export interface ForgedMember {
  readonly path: string
  readonly content?: Buffer
  /** Of its line in the index. */
  readonly line?: Partial<Member>
  /** Of its header in the tar. */
  readonly header?: Partial<HeaderFields>
}

export const directory = (path: string): ForgedMember => ({
  path,
  line: { type: 'directory', hash: undefined },
  header: { name: path === '' ? './' : `./${path}/`, flag: FLAGS.directory },
})

export function chunk(
  number: number,
  content: Buffer,
  more: Omit<ForgedMember, 'path' | 'content'> = {},
): ForgedMember {
  return { path: chunkPath(number), content, ...more }
}

export function volumeFile(shape: ImageShape): ForgedMember {
  return { path: VOLUME, content: Buffer.from(shapeText(shape)) }
}

/** A point whose frames, index and sums fit each other, whatever its members are. */
export async function forgeImage(
  place: { readonly points: string; readonly name: string },
  { shape, members }: { readonly shape: ImageShape; readonly members: readonly ForgedMember[] },
): Promise<void> {
  const sink = new LocalSink(place.points, place.name)
  const files = new ArchiveFiles({ sink, signal: calm.signal, compression: 'zstd', scratch: place.points })
  const encoder = new HeaderEncoder()
  const pieces: Buffer[] = []
  const lines: string[] = []
  let offset = 0
  for (const { path, content = Buffer.alloc(0), line, header } of members) {
    const plain = { mode: 0o600, uid: 0, gid: 0, mtime: '1.000000000', link: '', major: 0, minor: 0, records: [] }
    const fields = { ...plain, name: `./${path}`, flag: FLAGS.file, size: content.length, ...header }
    const head = Buffer.from(encoder.encode(fields))
    const padded = Buffer.concat([head, content, Buffer.alloc(paddingOf(content.length))])
    const place = { offset, frame: 0, dataOffset: offset + head.length }
    const sizes = { size: content.length, storedSize: content.length, hash: hash('sha256', content) }
    const times = { mtime: '1.000000000', ctime: '1.000000000', inode: 0, links: 1, link: undefined }
    const rest = {
      linkOffset: undefined,
      holes: false,
      patch: undefined,
      problem: undefined,
      mode: 0o600,
      uid: 0,
      gid: 0,
    }
    lines.push(memberLine({ path, type: 'file', ...place, ...sizes, ...times, ...rest, ...line }))
    pieces.push(padded)
    offset += padded.length
  }
  const tar = Buffer.concat([...pieces, Buffer.alloc(1_024)])
  await files.addFrame(zstdCompressSync(tar), tar.length)
  const text = Buffer.from(lines.join(''))
  const firstPath = members[0]?.path ?? ''
  await files.addIndex(zstdCompressSync(text), { rawBytes: text.length, firstPath, lines: lines.length })
  await files.finish({ contentBytes: tar.length, problems: 0, bases: [], image: shape })
  await sink.commit()
  files.close()
}
