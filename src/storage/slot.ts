/**
 * The slot of a Redis Cluster that a key is in: CRC16 (XMODEM) of what is hashed of it, modulo 16,384.
 * @param tag what the key has in braces, or the whole key where it has none.
 */
export function slotOf(tag: string): number {
  let crc = 0;
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
  }
  return crc & 0x3fff;
}
