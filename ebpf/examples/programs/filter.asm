mov r2, 0
mov r3, 0
mov r0, 0
ja +5
add r2, 16
jne r2, 65536, +3
lsh r0, 48
xor r0, r3
exit
mov r4, r1
add r4, r2
ldxw r5, [r4]
jslt32 r5, 0, -9
ldxdw r4, [r4+8]
add r4, r3
add r0, 1
mov r3, r4
ja -14
