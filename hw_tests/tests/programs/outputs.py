# A light, two tones, and the voltage at the battery's pin in mV.
import time

from machine import ADC, PWM, Pin

adc = ADC(Pin(35), atten=ADC.ATTN_11DB)
print(adc.read_uv() // 1000)
led = Pin(19, Pin.OUT, value=1)
buzzer = PWM(Pin(23), freq=2700, duty_u16=32768)
time.sleep_ms(100)
buzzer.freq(1800)
time.sleep_ms(150)
buzzer.duty_u16(0)
led.off()
