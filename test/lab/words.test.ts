import test from 'ava'
import { DiffLines } from '../../agent/drivers/zfs/diff-lines.ts'
import { readSession } from '../../agent/export/lio/access.ts'
import { readDestroyed } from '../../agent/volumes/zfs/destroy-program.ts'
import { nameBelow, parentsOf, pathBelow } from '../../agent/zfs/names.ts'
import { parseRows } from '../../agent/zfs/zfs.ts'
import { isDatasetAbsence, zfsError } from '../../agent/zfs/zfs-error.ts'

/** Said by ZFS 2.1.11 of Debian 12. */
const SAID: readonly (readonly [stderr: string, code: string])[] = [
  ["cannot open 'cap/none': dataset does not exist\n", 'not_found'],
  ["cannot create 'cap/v': dataset already exists\n", 'exists'],
  ["cannot create 'cap/v/x': parent is not a filesystem\n", 'exists'],
  ["cannot create 'cap/a/b': parent does not exist\n", 'not_found'],
  ["cannot destroy 'cap/v': volume has children\nuse '-r' to destroy the following datasets:\ncap/v@s\n", 'conflict'],
  ["cannot destroy 'cap/v@s': snapshot has dependent clones\nuse '-R' to destroy\ncap/c\n", 'conflict'],
  ["cannot destroy 'cap/c': dataset is busy\n", 'busy'],
  ["cannot frobnicate 'cap/c': the moon is full\n", 'internal'],
]

for (const [stderr, code] of SAID) {
  test(`"${stderr.split('\n', 1)}" is ${code}`, (t) => t.like(zfsError(stderr), { code }))
}

test('only the absence of a name is no failure of a listing', (t) => {
  t.true(isDatasetAbsence("cannot open 'cap/none': dataset does not exist"))
  t.true(isDatasetAbsence("cannot open 'cap/v': operation not applicable to datasets of this type"))
  t.false(isDatasetAbsence("cannot open 'cap/v': pool I/O is currently suspended"))
  t.deepEqual(parseRows('cap/a\t-\ncap/b\tx y\n', ['name', 'origin']), [
    { name: 'cap/a', origin: '-' },
    { name: 'cap/b', origin: 'x y' },
  ])
  t.throws(() => parseRows('cap/a\n', ['name', 'origin']), { code: 'internal' })
})

test('names are checked before they are arguments', (t) => {
  t.is(nameBelow('tank/v', 'users/a', 's'), 'tank/v/users/a@s')
  for (const path of ['-r', '../x', 'a//b', 'a b', 'a@b', '', 'a/', 'x'.repeat(250)]) {
    t.throws(() => nameBelow('tank', path), { code: 'invalid' }, path)
  }
  t.deepEqual(parentsOf('tank/v', 'tank/v/a/b/c'), ['tank/v/a', 'tank/v/a/b'])
  t.deepEqual([pathBelow('tank', 'tank/a/b'), pathBelow('tank', 'other/a')], ['a/b', 'other/a'])
})

test('what the program of destruction answers: gone, absent, in use, rested on, of another kind', (t) => {
  const answer = {
    1: { blockers: {}, name: 'cap/none', errno: 0, kind: 'absent' },
    2: { blockers: {}, name: 'cap/c', errno: 16, kind: 'volume' },
    3: { blockers: { 1: 'cap/v@s', 2: 'cap/c' }, name: 'cap/v', errno: 0, kind: 'volume' },
    4: { blockers: {}, name: 'cap/f', errno: 0, kind: 'filesystem' },
    5: { blockers: {}, name: 'cap/d', errno: 0, kind: 'volume' },
  }
  const read = readDestroyed(answer, 'cap')
  t.is(read.get('cap/none'), undefined)
  t.is(read.get('cap/d'), undefined)
  t.true(read.has('cap/d'))
  t.like(read.get('cap/c'), { code: 'busy' })
  t.like(read.get('cap/v'), { code: 'conflict', blockers: ['v@s', 'c'] })
  t.like(read.get('cap/f'), { code: 'conflict' })
  t.throws(() => readDestroyed('?', 'cap'), { code: 'internal' })
})

test('lines of a diff: moves, odd names, and no list where a name of several came', (t) => {
  const whole = new DiffLines()
  const text = '-\tF\t/mnt/cap/f/sp\\0040ace\nM\t/\t/mnt/cap/f/\nR\t/\t/mnt/cap/f/d\t/mnt/cap/f/e\n'
  for (const byte of Buffer.from(text)) whole.push(Buffer.from([byte]))
  t.deepEqual(whole.finish('/mnt/cap/f'), [
    { path: 'sp ace', subtree: false },
    { path: '', subtree: false },
    { path: 'd', subtree: true },
    { path: 'e', subtree: true },
  ])
  t.is(whole.finish('/mnt/cap/g'), undefined)
  const linked = new DiffLines()
  linked.push(Buffer.from('M\tF\t/mnt/cap/f/one\t(+1)\n'))
  t.is(linked.finish('/mnt/cap/f'), undefined)
  const cut = new DiffLines()
  cut.push(Buffer.from('M\tF\t/mnt/cap/f/o'))
  t.is(cut.finish('/mnt/cap/f'), undefined)
})

test("who is logged in, by the kernel's words", (t) => {
  t.is(readSession('No active iSCSI Session for Initiator Endpoint: iqn.2026-01.test.lab:a\n'), undefined)
  const info = `InitiatorName: iqn.2026-01.test.lab:a
InitiatorAlias: a
LIO Session ID: 3   ISID: 0x00 02 3d 00 00 00  TSIH: 3  SessionType: Normal
Session State: TARG_SESS_STATE_LOGGED_IN
----------------------[iSCSI Connections]-------------------------
CID: 0  Connection State: TARG_CONN_STATE_LOGGED_IN
   Address 10.9.0.2 TCP  StatSN: 0x1a2b3c4d
`
  t.is(readSession(info), '10.9.0.2')
})
