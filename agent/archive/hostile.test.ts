import { execFileSync } from 'node:child_process'
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { zstdCompressSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import {
  calm,
  canArchive,
  closeChain,
  describeTree,
  differences,
  extractTo,
  makeNastyTree,
  openChain,
  writePoint,
} from '../../test/harness/archive.ts'
import { mountLoop, temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { extractTar } from './extract-tar.ts'
import { LocalSink } from './local-sink.ts'
import { StreamReader } from './read/stream-reader.ts'
import { readEntry } from './read/tar-parser.ts'
import type { ArchiveSink } from './sink.ts'
import { FLAGS, HeaderEncoder, type HeaderFields } from './tar-header.ts'
import { verify } from './verify.ts'
import { writeArchive } from './write-archive.ts'

const plain = { mode: 0o644, uid: 0, gid: 0, mtime: '1.000000000', size: 0, link: '', major: 0, minor: 0, records: [] }

function header(fields: Pick<HeaderFields, 'name' | 'flag'> & Partial<HeaderFields>): Buffer {
  return Buffer.from(new HeaderEncoder().encode({ ...plain, ...fields }))
}

async function extractBytes(
  t: ExecutionContext,
  pieces: readonly Uint8Array[],
  more: { readonly zstd?: boolean; readonly maxBytes?: number; readonly symlinks?: 'keep' | 'inside' } = {},
) {
  const home = temporaryDirectory(t)
  const root = join(home, 'root')
  mkdirSync(root)
  const rootFd = openSync(root, 'r')
  const policy = { devices: 'refuse', symlinks: more.symlinks ?? 'keep' } as const
  const source = (async function* () {
    yield* pieces
  })()
  try {
    const compression = more.zstd === true ? 'zstd' : 'none'
    await extractTar(
      { subject: 'restore', source, compression, maxBytes: more.maxBytes ?? 2 ** 30, rootFd, policy },
      calm,
    )
  } finally {
    closeSync(rootFd)
    t.deepEqual(readdirSync(home), ['root'], 'nothing outside')
  }
  return root
}

const end = Buffer.alloc(1024)
const attacks: Readonly<Record<string, readonly Buffer[]>> = {
  'an absolute path': [header({ name: '/etc/evil', flag: FLAGS.file })],
  'a path that leads up': [header({ name: './a/../../evil', flag: FLAGS.file })],
  'a path through a link of the archive': [
    header({ name: './a', flag: FLAGS.symlink, link: '..' }),
    header({ name: './a/evil', flag: FLAGS.file }),
  ],
  'a directory through a link of the archive': [
    header({ name: './a', flag: FLAGS.symlink, link: '/' }),
    header({ name: './a/', flag: FLAGS.directory }),
  ],
  'a hard link to a file outside': [header({ name: './a', flag: FLAGS.hardlink, link: '/etc/passwd' })],
  'a hard link that leads up': [header({ name: './a', flag: FLAGS.hardlink, link: './../../etc/passwd' })],
  'a hard link through a link': [
    header({ name: './a', flag: FLAGS.symlink, link: '/etc' }),
    header({ name: './b', flag: FLAGS.hardlink, link: './a/passwd' }),
  ],
  'a device node': [header({ name: './a', flag: FLAGS.block, major: 8, minor: 0 })],
  'a file in the place of the root': [header({ name: './', flag: FLAGS.file })],
}

for (const [title, members] of Object.entries(attacks)) {
  test(`${title} is refused, naming the member`, async (t) => {
    await t.throwsAsync(extractBytes(t, [...members, end]), { code: 'refused', message: /member '.+': / })
  })
}

test('a link that leads out is kept, never followed, or refused where the caller says so', async (t) => {
  const members = [header({ name: './a', flag: FLAGS.symlink, link: '../x' }), end]
  await t.notThrowsAsync(extractBytes(t, members))
  await t.throwsAsync(extractBytes(t, members, { symlinks: 'inside' }), { code: 'refused' })
  await t.notThrowsAsync(
    extractBytes(t, [header({ name: './d/a', flag: FLAGS.symlink, link: '../x' }), end], { symlinks: 'inside' }),
  )
})

test('links that are harmless one by one lead out together, and are refused where that matters', async (t) => {
  const up = header({ name: './x/y/up', flag: FLAGS.symlink, link: '../..' })
  const elsewhere = header({ name: './up', flag: FLAGS.hardlink, link: './x/y/up' })
  const through = header({ name: './out', flag: FLAGS.symlink, link: 'x/y/up/../..' })
  for (const second of [elsewhere, through]) {
    await t.notThrowsAsync(extractBytes(t, [up, second, end]))
    await t.throwsAsync(extractBytes(t, [up, second, end], { symlinks: 'inside' }), { code: 'refused' })
  }
  const beside = header({ name: './x/z/up', flag: FLAGS.hardlink, link: './x/y/up' })
  await t.notThrowsAsync(extractBytes(t, [up, beside, end], { symlinks: 'inside' }))
})

test('a file is never written through a link that is there before', async (t) => {
  const members = [
    header({ name: './a', flag: FLAGS.symlink, link: '../evil' }),
    header({ name: './a', flag: FLAGS.file, size: 4 }),
    Buffer.from('evil'.padEnd(512, '\0')),
    end,
  ]
  const root = await extractBytes(t, members)
  t.is(readFileSync(join(root, 'a'), 'utf8'), 'evil')
})

test('what is torn, damaged or larger than declared ends the extraction', async (t) => {
  const file = header({ name: './a', flag: FLAGS.file, size: 5_000 })
  await t.throwsAsync(extractBytes(t, [file, Buffer.alloc(512)]), { code: 'corrupt' })
  const bad = Buffer.from(file)
  bad[5] = 0x41
  await t.throwsAsync(extractBytes(t, [bad, end]), { code: 'corrupt' })
  const bomb = zstdCompressSync(
    Buffer.concat([header({ name: './a', flag: FLAGS.file, size: 2 ** 27 }), Buffer.alloc(2 ** 27), end]),
  )
  await t.throwsAsync(extractBytes(t, [bomb], { zstd: true, maxBytes: 2 ** 22 }), { code: 'too_large' })
  await t.throwsAsync(extractBytes(t, [Buffer.from('no zstd at all')], { zstd: true }), { code: 'corrupt' })
  const records = [Buffer.from('99 path=x\n')]
  await t.throwsAsync(extractBytes(t, [header({ name: './a', flag: FLAGS.file, records }), end]), { code: 'corrupt' })
  const huge = header({ name: './a', flag: FLAGS.file })
  const big = header({ name: './x', flag: FLAGS.longName, size: 2 ** 31 })
  await t.throwsAsync(extractBytes(t, [big, huge]), { code: 'corrupt' })
})

const FORMATS: Readonly<Record<string, string>> = {
  'GNU tar, its own format': 'tar -cS --format=gnu --numeric-owner .',
  'GNU tar, pax': "tar -cS --format=pax --numeric-owner --acls --xattrs '--xattrs-include=*' .",
  'GNU tar, pax, sparse 0.1': 'tar -cS --format=pax --sparse-version=0.1 .',
  'GNU tar, pax, sparse 0.0': 'tar -cS --format=pax --sparse-version=0.0 .',
  'bsdtar, pax': 'bsdtar -cf - --format=pax --acls --xattrs .',
}

for (const [title, command] of Object.entries(FORMATS)) {
  test.serial(`what ${title} wrote is read`, async (t) => {
    if (!canArchive(t)) return t.pass()
    const home = temporaryDirectory(t)
    makeNastyTree(join(home, 'tree'))
    // Sockets, whole seconds and attributes that a format does not carry are taken out of the comparison.
    execFileSync('/bin/sh', ['-c', `cd tree && ${command} > ../t.tar`], {
      cwd: home,
      stdio: 'pipe',
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' },
    })
    mkdirSync(join(home, 'back'))
    const rootFd = openSync(join(home, 'back'), 'r')
    const source = (async function* () {
      yield* [readFileSync(join(home, 't.tar'))]
    })()
    const policy = { devices: 'make', symlinks: 'keep' } as const
    await extractTar({ subject: 'restore', source, compression: 'none', maxBytes: 2 ** 33, rootFd, policy }, calm)
    closeSync(rootFd)
    const wrong = differences(describeTree(join(home, 'back')), describeTree(join(home, 'tree')))
    const plainer = title.includes('own format') || title.includes('sparse')
    const coarse = (line: string) =>
      (plainer ? line.replace(/(\d{9,10})\.\d+ /, '$1 ') : line).replace(/^(found|expected) /, '')
    const [found, expected] = ['found', 'expected'].map(
      (word) => new Set(wrong.filter((line) => line.startsWith(word)).map(coarse)),
    )
    const attribute = /^(# |user|group|mask|other|default|trusted|security|system|flags|$)/
    const left = [...(expected ?? [])].filter((line) => !found?.has(line) && !(plainer && attribute.test(line)))
    t.deepEqual(left, [])
  })
}

test('every byte of every name, and every number, comes back from a header', (t) => {
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 400 })
    .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte))).toString('latin1'))
  const number = fc.maxSafeNat()
  fc.assert(
    fc.property(name, name, number, fc.nat(), fc.nat(), fc.nat(0o7777), (path, link, size, uid, gid, mode) => {
      const pieces = [
        header({ name: `./${path}`, flag: FLAGS.file, link, size, uid, gid, mode, mtime: '-1.500000000' }),
      ]
      const entry = readEntry(new StreamReader(() => pieces.pop()))
      return (
        entry?.name === `./${path}` &&
        entry.link === link &&
        entry.storedSize === size &&
        entry.uid === uid &&
        entry.gid === gid &&
        entry.mode === mode &&
        entry.mtime === '-1.500000000'
      )
    }),
  )
  t.pass()
})

function flip(file: string, at: number): void {
  const bytes = readFileSync(file)
  bytes[at] = (bytes[at] ?? 0) ^ 0x01
  writeFileSync(file, bytes)
}

test('damage names the members that it hit, and a restore of them ends there', async (t) => {
  const home = temporaryDirectory(t)
  mkdirSync(join(home, 'tree'))
  for (const name of ['a', 'b', 'c', 'd']) writeFileSync(join(home, 'tree', name), Buffer.alloc(3 * 2 ** 20, name))
  for (const compression of ['zstd', 'none'] as const) {
    const name = `point-${compression}`
    await writePoint({ tree: join(home, 'tree'), points: home, name }, { compression })
    const file = join(home, name, compression === 'zstd' ? 'data.tar.zst' : 'data.tar')
    const chain = await openChain(home, [name])
    const [point] = chain.points
    if (point === undefined) return t.fail()
    const frame = point.table.data[point.frameAt((await chain.find('b', calm.signal))?.member.dataOffset ?? 0) + 1]
    flip(file, (frame?.offset ?? 0) + 20)
    const found = await verify({ subject: 'verify', point, scratch: home }, calm)
    t.deepEqual([found.damaged, found.damagedCount], [['b'], 1])
    await closeChain(chain)
    await t.throwsAsync(extractTo(join(home, `bad-${name}`), { points: home, names: [name] }), {
      code: 'corrupt',
      message: /hash/,
    })
    await t.notThrowsAsync(extractTo(join(home, `good-${name}`), { points: home, names: [name], path: 'c' }))
    truncateSync(file, 1_000)
    await t.throwsAsync(extractTo(join(home, `torn-${name}`), { points: home, names: [name] }), { code: 'corrupt' })
  }
  const copy = join(home, 'bad-table')
  cpSync(join(home, 'point-zstd'), copy, { recursive: true })
  flip(join(copy, 'frames.ndjson.zst'), 30)
  await t.throwsAsync(openChain(home, ['bad-table']), { code: 'corrupt' })
})

test('a file cut short while it is read is padded and told, and the archive stays whole', async (t) => {
  const home = temporaryDirectory(t)
  mkdirSync(join(home, 'tree'))
  writeFileSync(join(home, 'tree', 'a'), Buffer.alloc(40 * 2 ** 20, 'a'))
  writeFileSync(join(home, 'tree', 'b'), 'b')
  const local = new LocalSink(home, 'point')
  let cut = false
  // The first frame waits here, so the reading thread stands in the middle of the file.
  const sink: ArchiveSink = {
    commit: () => local.commit(),
    abort: () => local.abort(),
    open: async (name, signal) => {
      const file = await local.open(name, signal)
      return {
        close: () => file.close(),
        write: async (chunk) => {
          if (!cut) truncateSync(join(home, 'tree', 'a'), 20 * 2 ** 20)
          cut = true
          await file.write(chunk)
        },
      }
    },
  }
  const written = await writePoint({ tree: join(home, 'tree'), points: home, name: 'point' }, { sink })
  t.deepEqual(written.problems, [{ path: 'a', reason: 'changed' }])
  t.is(written.totals.problems, 1)
  await extractTo(join(home, 'back'), { points: home, names: ['point'] })
  t.is(readFileSync(join(home, 'back', 'a')).length, 40 * 2 ** 20)
  t.is(readFileSync(join(home, 'back', 'b'), 'utf8'), 'b')
  // What was read badly is read again, though nothing says that it changed since.
  const chain = await openChain(home, ['point'])
  const again = await writePoint(
    { tree: join(home, 'tree'), points: home, name: 'next' },
    { base: { points: ['point'], lines: chain.lines(calm.signal) } },
  )
  t.is(again.totals.members, 2)
  await closeChain(chain)
})

test('sockets and mount points are left out and told', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  mkdirSync(join(home, 'tree', 'mnt'), { recursive: true })
  execFileSync('/usr/bin/python3', [
    '-c',
    'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])',
    join(home, 'tree', 'sock'),
  ])
  execFileSync('/bin/mount', ['-t', 'tmpfs', 'none', join(home, 'tree', 'mnt')])
  t.teardown(() => execFileSync('/bin/umount', [join(home, 'tree', 'mnt')]))
  const { problems } = await writePoint({ tree: join(home, 'tree'), points: home, name: 'point' })
  t.deepEqual(problems, [
    { path: 'mnt', reason: 'mount-point' },
    { path: 'sock', reason: 'socket' },
  ])
})

test('a cancel, and a full disk, leave nothing behind', async (t) => {
  if (!canArchive(t)) return t.pass()
  const home = temporaryDirectory(t)
  mkdirSync(join(home, 'tree'))
  mkdirSync(join(home, 'points'))
  execFileSync('/bin/sh', ['-c', 'head -c 200M /dev/urandom > tree/big'], { cwd: home })
  const rootFd = openSync(join(home, 'tree'), 'r')
  t.teardown(() => closeSync(rootFd))
  const settings = { subject: 'backup', rootFd, compression: 'zstd', scratch: join(home, 'points') } as const
  const cancel = new AbortController()
  const progress = ({ bytes = 0 }) => {
    if (bytes > 0) cancel.abort()
  }
  await t.throwsAsync(
    writeArchive({ ...settings, sink: new LocalSink(join(home, 'points'), 'p') }, { signal: cancel.signal, progress }),
    { code: 'cancelled' },
  )
  t.deepEqual(readdirSync(join(home, 'points')), [])
  const small = mountLoop(t, 'ext4')
  await t.throwsAsync(writeArchive({ ...settings, sink: new LocalSink(small, 'p') }, calm), { code: 'no_space' })
  t.deepEqual(readdirSync(small), ['lost+found'])
  symlinkSync('nowhere', join(home, 'points', 'taken'))
  await t.throwsAsync(writeArchive({ ...settings, sink: new LocalSink(join(home, 'points'), 'taken') }, calm), {
    code: 'exists',
  })
  t.false(existsSync(join(home, 'points', 'taken.partial')))
})
