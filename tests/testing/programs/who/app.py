from interlock import App

app = App()
