import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { zstdCompressSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { extractTar } from '../../agent/archive/extract-tar.ts'
import { FLAGS, HeaderEncoder, type HeaderFields, paxRecord } from '../../agent/archive/tar-header.ts'
import { calm, canArchive, extractTo, writePoint } from '../harness/archive.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { Trees } from '../harness/nasty-tree.ts'

const plain = { mode: 0o644, uid: 0, gid: 0, mtime: '1.000000000', size: 0, link: '', major: 0, minor: 0, records: [] }
const END = Buffer.alloc(1_024)

function header(fields: Pick<HeaderFields, 'name' | 'flag'> & Partial<HeaderFields>): Buffer {
  return Buffer.from(new HeaderEncoder().encode({ ...plain, ...fields }))
}

/** A member of its own that says something of the next one: GNU's long names, a global header. */
function extension(flag: number, content: string): Buffer {
  const bytes = Buffer.from(content)
  return Buffer.concat([
    header({ name: 'x', flag, size: bytes.length }),
    bytes,
    Buffer.alloc(512 - (bytes.length % 512)),
  ])
}

function withPrefix(block: Buffer, prefix: string): Buffer {
  block.fill(0, 148, 156).write(prefix, 345, 'latin1')
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

function sparse(map: string, realSize: number): Buffer {
  const body = Buffer.alloc(Math.ceil(map.length / 512) * 512)
  body.write(map, 'latin1')
  const records = [
    paxRecord('GNU.sparse.major', '1'),
    paxRecord('GNU.sparse.minor', '0'),
    paxRecord('GNU.sparse.name', './a'),
    paxRecord('GNU.sparse.realsize', String(realSize)),
  ]
  return Buffer.concat([header({ name: './a', flag: FLAGS.file, size: body.length, records }), body])
}

/** Extracts into `<home>/root`, and sees that nothing came to be beside it. */
async function extractBytes(t: ExecutionContext, pieces: readonly Buffer[]): Promise<string> {
  const home = temporaryDirectory(t)
  const root = join(home, 'root')
  mkdirSync(root)
  const rootFd = openSync(root, 'r')
  const policy = { devices: 'refuse', symlinks: 'keep' } as const
  const source = (async function* () {
    yield* pieces
  })()
  try {
    await extractTar({ subject: 'restore', source, compression: 'none', maxBytes: 2 ** 30, rootFd, policy }, calm)
  } finally {
    closeSync(rootFd)
    t.deepEqual(readdirSync(home), ['root'], 'nothing outside')
  }
  return root
}

const evil = { name: './a', flag: FLAGS.file } as const
const REFUSED: Readonly<Record<string, readonly Buffer[]>> = {
  'a pax path that leads up': [header({ ...evil, records: [paxRecord('path', '../evil')] })],
  'an absolute pax path': [header({ ...evil, records: [paxRecord('path', '/var/tmp/evil')] })],
  'the name of a file with holes that leads up': [
    header({ ...evil, records: [paxRecord('GNU.sparse.name', './../evil'), paxRecord('path', './a')] }),
  ],
  'a long name that leads up': [extension(FLAGS.longName, '../evil\0'), header(evil)],
  'a prefix that leads up': [withPrefix(header({ name: 'evil', flag: FLAGS.file }), '..')],
  'an absolute prefix': [withPrefix(header({ name: 'evil', flag: FLAGS.file }), '/var/tmp')],
  'a name with a NUL in it': [header({ ...evil, records: [paxRecord('path', 'a\0b')] })],
  'a hard link whose pax target is outside': [
    header({ name: './a', flag: FLAGS.hardlink, link: './b', records: [paxRecord('linkpath', '../../../etc/passwd')] }),
  ],
  'a hard link whose long target is outside': [
    extension(FLAGS.longLink, '/etc/passwd\0'),
    header({ name: './a', flag: FLAGS.hardlink, link: './b' }),
  ],
  'a file below a link that took the place of a directory': [
    header({ name: './a/', flag: FLAGS.directory, mode: 0o755 }),
    header({ name: './b', flag: FLAGS.file }),
    header({ name: './c', flag: FLAGS.symlink, link: '..' }),
    header({ name: './c/evil', flag: FLAGS.file }),
  ],
  'a file in the place of a parent': [
    header({ name: './a', flag: FLAGS.file }),
    header({ name: './a/evil', flag: FLAGS.file }),
  ],
}

for (const [title, members] of Object.entries(REFUSED)) {
  test(`${title} is refused`, async (t) => {
    await t.throwsAsync(extractBytes(t, [...members, END]), { code: 'refused' })
  })
}

const DAMAGED: Readonly<Record<string, Buffer>> = {
  'holes that overlap': sparse('2\n0\n512\n100\n512\n', 4_096),
  'holes that run backwards': sparse('2\n1024\n0\n0\n0\n', 4_096),
  'holes beyond the end': sparse('1\n8192\n0\n', 4_096),
  'more holes than any file has': sparse('99999999\n', 4_096),
  'a hole with a negative size': sparse('1\n0\n-512\n', 4_096),
  'content that is not there': sparse('1\n0\n1048576\n', 2 ** 21),
}

for (const [title, member] of Object.entries(DAMAGED)) {
  test(`${title} end the extraction`, async (t) => {
    await t.throwsAsync(extractBytes(t, [member, END]), { code: 'corrupt' })
  })
}

test('a global header names no member, and a directory is never replaced by a link', async (t) => {
  const path = paxRecord('path', '../evil').toString()
  const root = await extractBytes(t, [extension(FLAGS.paxGlobal, path), header(evil), END])
  t.deepEqual(readdirSync(root), ['a'])
  const swap = [
    header({ name: './a/', flag: FLAGS.directory, mode: 0o755 }),
    header({ name: './a', flag: FLAGS.symlink, link: '..' }),
    header({ name: './a/evil', flag: FLAGS.file }),
    END,
  ]
  await t.throwsAsync(extractBytes(t, swap))
})

test('a second name of a link is not written through', async (t) => {
  const root = await extractBytes(t, [
    header({ name: './a', flag: FLAGS.symlink, link: '../evil' }),
    header({ name: './b', flag: FLAGS.hardlink, link: './a' }),
    header({ name: './b', flag: FLAGS.file, size: 4 }),
    Buffer.from('text'.padEnd(512, '\0')),
    END,
  ])
  t.is(readFileSync(join(root, 'b'), 'utf8'), 'text')
})

test('an archive cannot bring a note of ours', async (t) => {
  if (!canArchive(t)) return t.pass()
  const records = [
    paxRecord('SCHILY.xattr.trusted.holdfast.dataset', 'forged'),
    paxRecord('SCHILY.xattr.trusted.other', 'kept'),
  ]
  const root = await extractBytes(t, [header({ name: './', flag: FLAGS.directory, mode: 0o755, records }), END])
  using trees = new Trees()
  const walked = await trees.walk(root)
  t.deepEqual(Object.keys(walked['']?.attributes ?? {}), ['trusted.other'])
})

/** Writes the index of a point anew, with a table that fits it: whoever can change a target can do that. */
function forgeIndex(point: string, forge: (lines: readonly string[]) => readonly string[]): void {
  const read = (name: string) =>
    execFileSync('/usr/bin/zstd', ['-dcq', join(point, name)], { maxBuffer: 2 ** 28 })
      .toString()
      .trim()
      .split('\n')
  const text = Buffer.from(`${forge(read('index.ndjson.zst')).join('\n')}\n`)
  const stored = zstdCompressSync(text)
  const hash = createHash('sha256').update(stored).digest('hex')
  const table = read('frames.ndjson.zst').filter((line) => !line.startsWith('{"index"'))
  table.splice(-1, 0, `{"index":[0,${stored.length},0,${text.length}],"h":"${hash}","p":""}`)
  writeFileSync(join(point, 'index.ndjson.zst'), stored)
  writeFileSync(join(point, 'frames.ndjson.zst'), zstdCompressSync(`${table.join('\n')}\n`))
}

const FILE_BYTES = 2 ** 20

/** So many that one thread reads them and another makes them. */
const MANY_FILES = 5_000

/** A point of two files of a mebibyte and of empty ones behind them, its index forged, and what its restore says. */
async function restoreForged(
  t: ExecutionContext,
  forge: (lines: readonly string[]) => readonly string[],
  emptyFiles = 0,
) {
  const home = temporaryDirectory(t)
  const tree = join(home, 'tree')
  mkdirSync(tree)
  for (const name of ['a', 'b']) writeFileSync(join(tree, name), Buffer.alloc(FILE_BYTES, name))
  if (emptyFiles > 0) mkdirSync(join(tree, 'empty'))
  for (let number = 0; number < emptyFiles; number += 1) writeFileSync(join(tree, 'empty', `${number}`), '')
  await writePoint({ tree, points: home, name: 'point' })
  forgeIndex(join(home, 'point'), forge)
  const error = await extractTo(join(home, 'back'), { points: home, names: ['point'] }).then(
    () => undefined,
    (thrown: { readonly code: string }) => thrown.code,
  )
  t.deepEqual(readdirSync(home).toSorted(), ['back', 'point', 'tree'], 'nothing outside')
  const bytes = readdirSync(join(home, 'back')).reduce((sum, name) => sum + statSync(join(home, 'back', name)).size, 0)
  return { error, bytes, home }
}

const edit = (from: RegExp, to: string) => (lines: readonly string[]) => lines.map((line) => line.replace(from, to))

const FORGED: Readonly<Record<string, (lines: readonly string[]) => readonly string[]>> = {
  'a path that leads up': edit(/"p":"b"/, '"p":"../evil"'),
  'an absolute path': edit(/"p":"b"/, '"p":"/var/tmp/evil"'),
  "another member's name": edit(/"p":"b"/, '"p":"c"'),
  'another kind': edit(/"p":"b","t":"f"/, '"p":"b","t":"p"'),
  'a place that is not there': edit(/("p":"b".*"o":)\d+/, '$1999999999'),
  'a place within the content of another': edit(/("p":"b".*"o":)\d+/, '$12048'),
  'a content that ends beyond the archive': edit(/("p":"b".*"s":)\d+/, '$199999999999'),
  'another hash': edit(/("p":"b".*"h":")[0-9a-f]{8}/, '$100000000'),
}

for (const [title, forge] of Object.entries(FORGED)) {
  for (const emptyFiles of [0, MANY_FILES]) {
    test(`an index that tells ${title}, and of ${emptyFiles} empty files, ends the restore`, async (t) => {
      const { error } = await restoreForged(t, forge, emptyFiles)
      t.is(error, 'corrupt')
      t.false(existsSync('/var/tmp/evil'))
    })
  }
}

test('an index cannot make more of an archive than it holds', async (t) => {
  const links = (lines: readonly string[]) => {
    const [, a = ''] = lines
    const offset = /"o":(\d+)/.exec(a)?.[1]
    const link = (number: number) =>
      a
        .replace(/"p":"a","t":"f"/, `"p":"c${String(number).padStart(4, '0')}","t":"h"`)
        .replace(/,"h":.*}$/, `,"l":"a","lo":${offset}}`)
    return [...lines, ...Array.from({ length: 500 }, (_, number) => link(number))]
  }
  const bomb = await restoreForged(t, links)
  t.is(bomb.error, 'too_large')
  t.true(bomb.bytes <= 6 * FILE_BYTES, `${bomb.bytes} bytes were written`)
  const twice = await restoreForged(t, ([root = '', a = '', ...rest]) => [root, a, a, a, ...rest])
  t.is(twice.error, 'corrupt')
})
