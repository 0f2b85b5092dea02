/** A target as tgtd's own listing tells of it. */
export interface ListedTarget {
  readonly tid: number
  readonly wwn: string
  /** LUN 1; undefined: it has none. */
  readonly unit: { readonly device: string; readonly serial: string; readonly isReadonly: boolean } | undefined
  readonly chapUsers: readonly string[]
  readonly initiators: readonly string[]
}

export interface ListedConnection {
  readonly sid: number
  readonly cid: number
  readonly initiator: string
  readonly address: string
}

const SECTIONS = ['System', 'I_T nexus', 'LUN', 'Account', 'ACL'] as const
const UNIT_LINE = /^ {8}LUN: 1$/m

/**
 * Reads `show` of all targets. An initiator chooses its alias, which is part of this text, and could write lines of its own with it: what
 * does not have each target of the drivers' listing, and no other, each with each section once, in its order, is not believed.
 * @param drivers `show` of all drivers, in which nobody has a word but us
 * @returns undefined where it cannot be believed
 */
export function parseTargets(text: string, drivers: string): readonly ListedTarget[] | undefined {
  const targets = parseEach(text)
  const told = targets?.map(({ tid, wwn }) => `${tid}: ${wwn}`).toSorted()
  const real = [...drivers.matchAll(/^ {8}Target (\d+: \S+)$/gm)].map(([, name]) => name).toSorted()
  return told?.join() === real.join() ? targets : undefined
}

function parseEach(text: string): readonly ListedTarget[] | undefined {
  const targets: ListedTarget[] = []
  for (const part of text.split(/^(?=Target )/m).filter((piece) => piece.trim() !== '')) {
    const target = parseTarget(part)
    if (target === undefined || targets.some(({ tid, wwn }) => tid === target.tid || wwn === target.wwn))
      return undefined
    targets.push(target)
  }
  return targets
}

function parseTarget(part: string): ListedTarget | undefined {
  const head = /^Target (\d+): (\S+)\n/.exec(part)
  const marks = [...part.matchAll(/^ {4}(\S.*) information:\n/gm)]
  if (head === null || marks.length !== SECTIONS.length || marks.some(([, name], n) => name !== SECTIONS[n]))
    return undefined
  const bodies = marks.map((mark, n) => part.slice(mark.index + mark[0].length, marks[n + 1]?.index))
  const [, , units = '', accounts = '', initiators = ''] = bodies
  return {
    tid: Number(head[1]),
    wwn: head[2] ?? '',
    unit: parseUnit(units),
    chapUsers: namesIn(accounts),
    initiators: namesIn(initiators),
  }
}

function parseUnit(units: string): ListedTarget['unit'] {
  const at = UNIT_LINE.exec(units)
  if (at === null) return undefined
  const lines = units.slice(at.index)
  const told = (name: string) => new RegExp(`^ {12}${name}: (.*)$`, 'm').exec(lines)?.[1]?.trim() ?? ''
  return { device: told('Backing store path'), serial: told('SCSI SN'), isReadonly: told('Readonly') === 'Yes' }
}

function namesIn(body: string): readonly string[] {
  return [...body.matchAll(/^ {8}(\S.*)$/gm)].map(([, name = '']) => name)
}

/** Reads `show` of one target's connections. */
export function parseConnections(text: string): readonly ListedConnection[] {
  const form = /^Session: (\d+)\n {4}Connection: (\d+)\n {8}Initiator: (\S+)\n {8}(?:IP Address: )?(.*)$/gm
  return [...text.matchAll(form)].map(([, sid, cid, initiator = '', address = '']) => ({
    sid: Number(sid),
    cid: Number(cid),
    initiator,
    address,
  }))
}

/** Reads `show` of all portals: `addr:port`, an IPv6 address in brackets. */
export function parsePortals(text: string): readonly string[] {
  return [...text.matchAll(/^Portal: (.+),\d+$/gm)].map(([, portal = '']) => portal)
}

/** Reads `show` of all accounts. */
export function parseAccounts(text: string): readonly string[] {
  return [...text.matchAll(/^ {4}(\S.*)$/gm)].map(([, name = '']) => name)
}
