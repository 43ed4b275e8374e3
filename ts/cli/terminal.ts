/** What depends on where the output goes: colours on a terminal alone. */

const plain = (text: string) => text

function painter(code: number): (text: string) => string {
  const coloured = process.stdout.isTTY === true && !process.env.NO_COLOR
  return coloured ? (text) => `\u001b[${code}m${text}\u001b[0m` : plain
}

export const bold = painter(1)
export const dim = painter(2)
export const red = painter(31)
export const green = painter(32)
export const cyan = painter(36)
