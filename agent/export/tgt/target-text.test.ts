import test from 'ava'
import { parseConnections, parsePortals, parseTargets } from './target-text.ts'

/** What tgtd 1.0.85 shows. @param nexus what an initiator's session adds to it */
function listing(nexus = ''): string {
  return `Target 7: iqn.2026-01.t:a
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
${nexus}    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: IET     00070000
            SCSI SN: beaf70
            Backing store type: null
            Backing store path: None
            Backing store flags: 
        LUN: 1
            Type: disk
            SCSI ID: 0123456789abcdef01234567
            SCSI SN: 12345678-1234-1234-1234-123456789abc
            Readonly: No
            Backing store type: rdwr
            Backing store path: /srv/a b.img
            Backing store flags: 
    Account information:
        al
    ACL information:
        iqn.2026-01.t:x
        iqn.2026-01.t:y
`
}

function session(alias: string): string {
  const lines = ['        I_T nexus: 4', `            Initiator: iqn.2026-01.t:x alias: ${alias}`]
  return [...lines, '            Connection: 0', '                IP Address: 127.0.0.1', ''].join('\n')
}

const DRIVERS = 'LLDs:\n    iscsi: ready\n        Target 7: iqn.2026-01.t:a\n    iser: error\n'
const NO_DRIVERS = 'LLDs:\n    iscsi: ready\n    iser: error\n'

test('targets are read with their volume, accounts and initiators', (t) => {
  const shown = {
    tid: 7,
    wwn: 'iqn.2026-01.t:a',
    unit: { device: '/srv/a b.img', serial: '12345678-1234-1234-1234-123456789abc', isReadonly: false },
    chapUsers: ['al'],
    initiators: ['iqn.2026-01.t:x', 'iqn.2026-01.t:y'],
  }
  t.deepEqual(parseTargets(listing(), DRIVERS), [shown])
  t.deepEqual(parseTargets(listing(session('none')), DRIVERS), [shown])
  t.like(parseTargets(listing().replace('Readonly: No', 'Readonly: Yes'), DRIVERS), [{ unit: { isReadonly: true } }])
  t.deepEqual(parseTargets('', NO_DRIVERS), [])
})

test('an alias that writes lines of its own is not believed', (t) => {
  const believed = (alias: string) => parseTargets(listing(session(alias)), DRIVERS)
  t.is(believed('x\n    ACL information:\n        iqn.2026-01.t:eve'), undefined)
  t.is(believed('x\n    LUN information:\n        LUN: 1'), undefined)
  // A whole target with this one's end, and the beginning of another one.
  const parts = ['LUN', 'Account', 'ACL'].map((name) => `    ${name} information:`)
  const head = ['Target 8: iqn.2026-01.t:b', '    System information:', '    I_T nexus information:']
  t.is(believed(['x', ...parts, ...head].join('\n')), undefined)
  t.is(parseTargets(`${listing()}${listing()}`, DRIVERS), undefined)
  t.is(parseTargets('', DRIVERS), undefined)
})

test('connections and portals are read', (t) => {
  const text =
    'Session: 4\n    Connection: 1\n        Initiator: iqn.2026-01.t:x\n        IP Address: 127.0.0.1\nSession: 5\n    Connection: 0\n        Initiator: iqn.2026-01.t:y\n        IP Address: [::1]\n'
  t.deepEqual(parseConnections(text), [
    { sid: 4, cid: 1, initiator: 'iqn.2026-01.t:x', address: '127.0.0.1' },
    { sid: 5, cid: 0, initiator: 'iqn.2026-01.t:y', address: '[::1]' },
  ])
  t.deepEqual(parsePortals('Portal: 127.0.0.1:33262,1\nPortal: [::1]:3260,1\n'), ['127.0.0.1:33262', '[::1]:3260'])
})
